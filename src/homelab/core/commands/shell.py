"""Reads a shell text as a shell would, without running any of it: what is done, in which order, to which files.

Both branches of a condition are read unless its outcome is plain from the text; a loop over a list is read once for
each of its few words. Called by `core.commands.describing`; what one command does is for `core.commands.programs`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from homelab.core.commands.conditions import outcome, tested_paths
from homelab.core.commands.effects import Effect, Join, Redirect, Script, Source, Word
from homelab.core.commands.findings import Findings
from homelab.core.commands.grammar import NotParsed, parse, text_of, written
from homelab.core.commands.patterns import UNIQUE, absolute, is_plain
from homelab.core.commands.printed import printed
from homelab.core.commands.syntax import fits, join_scopes, parts, redirect_words, spine
from homelab.core.commands.words import UNKNOWN, Expander, Scope, Values

if TYPE_CHECKING:
    from homelab.core.commands.grammar import Node

_BLOCKS = frozenset({"program", "compound_statement", "do_group", "else_clause", "subshell", "ERROR"})
_COMMANDS = frozenset({"command", "declaration_command", "unset_command", "test_command"})
_FEW = 6
_LONGEST_TEXT = 300


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One simple command about to run. `stdin`: its standard input where that is a text that is known; `incoming`: what
    the lines on it can be. `is_piped`: what it prints goes into another command."""

    words: Sequence[Word]
    redirects: Sequence[Redirect]
    stdin: str | None
    join: Join
    scope: Scope
    source: Source
    incoming: Values = UNKNOWN
    is_piped: bool = False


@dataclass(kw_only=True)
class _Context:
    """What surrounds a statement: how it is joined, the text to show for it, redirections and input it inherits."""

    join: Join = ""
    text: str = ""
    redirects: list["Node"] = field(default_factory=list["Node"])
    stdin: str | None = None
    incoming: Values = UNKNOWN
    is_piped: bool = False


@dataclass(kw_only=True)
class Shell:
    """`run`: what a simple command does; returns whether it is sure to succeed or fail, None when nobody knows."""

    findings: Findings
    run: Callable[["Shell", Invocation], bool | None]
    origin: Source | None = None
    expander: Expander = field(init=False)

    def __post_init__(self) -> None:
        self.expander = Expander(substitute=self._substitute, unique=UNIQUE)

    def read(self, text: str, scope: Scope, *, origin: Source | None = None, stdin: str | None = None) -> None:
        """Read a text in `scope`, which it changes. `origin`: what to name as the source, for a text inside a text."""
        try:
            root = parse(text)
        except NotParsed as error:
            self.findings.note(scope.file, str(error))
            return
        outer, self.origin = self.origin, origin or self.origin
        try:
            self._statement(root, scope, _Context(stdin=stdin))
        finally:
            self.origin = outer

    # --- statements ---------------------------------------------------------------------------------------------------

    def _statement(self, node: "Node", scope: Scope, context: _Context) -> bool | None:
        self.findings.deeper()
        try:
            return self._any(node, scope, context)
        finally:
            self.findings.levels -= 1

    def _any(self, node: "Node", scope: Scope, context: _Context) -> bool | None:
        kind = node.type
        if kind in _COMMANDS:
            return self._command(node, scope, context)
        if kind == "list":
            return self._list(node, scope, context)
        if kind == "pipeline":
            return self._pipeline(node, scope, context)
        if kind == "redirected_statement":
            return self._redirected(node, scope, context)
        if kind == "variable_assignment":
            self._assign(node, scope)
        elif kind == "variable_assignments":
            for child in node.named_children:
                self._assign(child, scope)
        elif kind in _BLOCKS:
            inner = scope.copy() if kind == "subshell" else scope
            self._redirect_block(context, inner, node)
            return self._sequence(node.children, inner, context)
        elif kind == "if_statement":
            self._if(node, scope, context)
        elif kind == "case_statement":
            self._case(node, scope, context)
        elif kind == "for_statement":
            self._for(node, scope, context)
        elif kind in ("while_statement", "c_style_for_statement"):
            self._redirect_block(context, scope, node)
            self._branch(node.children, scope, context)
        elif kind == "function_definition":
            self._define(node, scope)
        elif kind == "negated_command":
            found = [self._statement(child, scope, context) for child in node.named_children]
            return None if not found or found[-1] is None else not found[-1]
        return None

    def _sequence(self, nodes: Sequence["Node"], scope: Scope, context: _Context) -> bool | None:
        """Statements one after the other; `;` and newlines are the same, `&` goes on at once."""
        join: Join = context.join
        last: bool | None = None
        is_first = True
        for child in nodes:
            if not child.is_named:
                join = "&" if child.type == "&" else ";" if not is_first else join
                continue
            if child.type in ("comment", "heredoc_body"):
                continue
            last = self._statement(child, scope, _Context(join=join, stdin=context.stdin, incoming=context.incoming))
            is_first = False
            join = ";"
        return last

    def _list(self, node: "Node", scope: Scope, context: _Context) -> bool | None:
        """`a && b || c`, which leans to the left in the tree; walked along its spine, not down."""
        parts: list[tuple[Join, Node]] = []
        while node.type == "list":
            operator: Join = "||" if any(c.type == "||" for c in node.children) else "&&"
            named = node.named_children
            if len(named) < 2:
                break
            parts.append((operator, named[-1]))
            node = named[0]
        parts.append((context.join, node))
        parts.reverse()
        outcome_: bool | None = None
        for number, (join, part) in enumerate(parts):
            if number and ((join == "&&" and outcome_ is False) or (join == "||" and outcome_ is True)):
                continue
            is_last = number == len(parts) - 1
            inner = _Context(join=join, stdin=context.stdin, incoming=context.incoming)
            if is_last:
                inner.redirects = context.redirects
            start = len(self.findings.commands)
            found = self._statement(part, scope, inner)
            if number:
                self.findings.conditional(start)
            outcome_ = found if number == 0 or found is not None else None
        return outcome_

    def _pipeline(self, node: "Node", scope: Scope, context: _Context) -> bool | None:
        text = context.text or text_of(node)
        stages = [child for child in node.named_children if child.type != "comment"]
        stdin, incoming = context.stdin, context.incoming
        last: bool | None = None
        for number, stage in enumerate(stages):
            inner = _Context(join="|" if number else context.join, text=text, stdin=stdin, incoming=incoming)
            inner.is_piped = number < len(stages) - 1
            if not inner.is_piped:
                inner.redirects = context.redirects
            words = self._quiet_words(stage, scope)
            last = self._statement(stage, scope.copy(), inner)
            output = printed(words, scope, incoming) if words else UNKNOWN
            name = words[0][0].rpartition("/")[2] if words else ""
            is_text = name in ("echo", "printf") and len(output) == 1
            stdin, incoming = (output[0] if is_text else None), output
        return last if len(stages) == 1 else None

    def _redirected(self, node: "Node", scope: Scope, context: _Context) -> bool | None:
        redirects = [child for child in node.named_children if child.type.endswith("_redirect")]
        body = next((child for child in node.named_children if not child.type.endswith("_redirect")), None)
        inner = _Context(
            join=context.join,
            text=context.text or text_of(node),
            redirects=[*redirects, *context.redirects],
            stdin=context.stdin,
            incoming=context.incoming,
            is_piped=context.is_piped,
        )
        if body is None:
            self._redirect_block(inner, scope, node)
            return None
        if body.type == "list" and not context.text:
            last = body.named_children[-1]
            data = node.text or b""
            inner.text = written(data[last.start_byte - node.start_byte :].decode("utf-8", "replace"))
        return self._statement(body, scope, inner)

    # --- branches -----------------------------------------------------------------------------------------------------

    def _branch(self, nodes: Sequence["Node"], scope: Scope, context: _Context) -> None:
        """Statements that may not run, or run more than once."""
        start = len(self.findings.commands)
        inner = _Context(join=";", stdin=context.stdin, incoming=context.incoming)
        self._sequence(nodes, scope, inner)
        self.findings.conditional(start)

    def _if(self, node: "Node", scope: Scope, context: _Context) -> None:
        self._redirect_block(context, scope, node)
        branches: list[tuple[list[Node], list[Node]]] = []  # condition, body
        rest: list[Node] = []
        self._split_if(node, branches, rest)
        ends: list[Scope] = []
        is_decided = False
        for condition, body in branches:
            verdict = self._sequence(condition, scope, _Context(join=";" if ends else context.join))
            if verdict is False:
                continue
            inner = scope.copy()
            self._branch(body, inner, context)
            ends.append(inner)
            if verdict is True:
                is_decided = True
                break
        if not is_decided:
            inner = scope.copy()
            self._branch(rest, inner, context)
            ends.append(inner)
        join_scopes(scope, ends)

    def _split_if(self, node: "Node", branches: list[tuple[list["Node"], list["Node"]]], rest: list["Node"]) -> None:
        condition: list[Node] = []
        body: list[Node] = []
        in_body = False
        clauses: list[Node] = []
        for child in node.children:
            if child.type == "then":
                in_body = True
            elif child.type in ("elif_clause", "else_clause"):
                clauses.append(child)
            elif child.type not in ("if", "elif", "fi"):
                (body if in_body else condition).append(child)
        branches.append((condition, body))
        for clause in clauses:
            if clause.type == "elif_clause":
                self._split_if(clause, branches, rest)
            else:
                rest.extend(child for child in clause.children if child.type != "else")

    def _case(self, node: "Node", scope: Scope, context: _Context) -> None:
        self._redirect_block(context, scope, node)
        subject: Values | None = None
        ends: list[Scope] = []
        for child in node.named_children:
            if subject is None and child.type != "case_item":
                subject = self.expander.values(child, scope)
            elif child.type == "case_item":
                patterns, body = self._case_item(child, scope)
                verdict = fits(subject or UNKNOWN, patterns)
                if verdict is False:
                    continue
                inner = scope.copy()
                self._branch(body, inner, context)
                ends.append(inner)
                if verdict:
                    break
        else:
            ends.append(scope.copy())
        join_scopes(scope, ends)

    def _case_item(self, node: "Node", scope: Scope) -> tuple[list[str], list["Node"]]:
        patterns: list[str] = []
        body: list[Node] = []
        in_body = False
        for child in node.children:
            if child.type == ")" and not in_body:
                in_body = True
            elif in_body:
                if child.type not in (";;", ";&", ";;&"):
                    body.append(child)
            elif child.is_named:
                patterns += self.expander.values(child, scope)
        return patterns, body

    def _for(self, node: "Node", scope: Scope, context: _Context) -> None:
        self._redirect_block(context, scope, node)
        named = node.named_children
        name = text_of(named[0]) if named else ""
        body = [child for child in named if child.type == "do_group"]
        items = [
            word for child in named[1:] if child.type not in ("do_group", "comment")
            for word in self.expander.words(child, scope)
        ]  # fmt: skip
        if not any(child.type == "in" for child in node.children):
            items = list(scope.arguments)
        values = [value for word in items for value in word]
        if len(values) > _FEW:
            self._loop(name, tuple(values[:40]), body, scope, context)
            return
        for value in values:
            self._loop(name, (value,), body, scope, context)

    def _loop(self, name: str, values: Values, body: list["Node"], scope: Scope, context: _Context) -> None:
        scope.variables[name] = values
        self._branch(body, scope, context)

    def _define(self, node: "Node", scope: Scope) -> None:
        named = node.named_children
        if len(named) >= 2:
            scope.functions[text_of(named[0])] = (named[-1], scope.file)

    def call_function(self, name: str, words: Sequence[Word], scope: Scope, join: Join) -> bool | None:
        """Run a function of the text in the scope of its caller, with arguments of its own."""
        body, file = scope.functions[name]
        if f"{name}()" in self.findings.open_scripts:
            return None
        arguments, was_in = scope.arguments, scope.file
        self.findings.open_scripts.append(f"{name}()")
        scope.arguments, scope.file = tuple(word.values for word in words), file
        try:
            return self._statement(body, scope, _Context(join=join))
        finally:
            scope.arguments, scope.file = arguments, was_in
            self.findings.open_scripts.pop()

    # --- simple commands ----------------------------------------------------------------------------------------------

    def _command(self, node: "Node", scope: Scope, context: _Context) -> bool | None:
        self.findings.step()
        source = self._source(node, scope, context.text)
        if node.type == "test_command":
            self._redirects(context.redirects, scope, source, Word(text="[", values=("[",)))
            for path, is_folder in tested_paths(node, scope, self.expander):
                target = absolute(path, scope.folder)
                effect = Effect(kind="test", target=target, place=scope.place, is_tree=is_folder, by="[", source=source)
                self.findings.add(effect)
            self._substitutions(node, scope)
            return outcome(node, scope, self.expander)
        if node.type in ("declaration_command", "unset_command"):
            keyword = text_of(node.children[0])
            for child in node.named_children:
                if child.type == "variable_assignment":
                    self._assign(child, scope)
                    child = child.named_children[0]
                if keyword in ("export", "declare", "typeset"):
                    scope.exported.add(text_of(child))
                elif keyword == "unset":
                    scope.variables.pop(text_of(child), None)
            return None
        return self._simple(node, scope, context, source)

    def _simple(self, node: "Node", scope: Scope, context: _Context, source: Source) -> bool | None:
        assignments, groups, redirects = parts(node, context.redirects)
        if not groups and not redirects:
            for group in assignments:
                self._assign(group[0], scope, group[1:])
            return None
        inner = scope
        if assignments:  # `NAME=value command`: for this command only
            inner = scope.copy()
            for group in assignments:
                self._assign(group[0], inner, group[1:])
                inner.exported.add(text_of(group[0].named_children[0]))
        words: list[Word] = []
        stdin = context.stdin
        for group in groups:
            text = "".join(text_of(part) for part in group)
            if group[0].type == "process_substitution":
                self._sequence(group[0].children, inner.copy(), _Context(join=context.join))
                words.append(Word(text=text, values=("/dev/fd/63",)))
                continue
            words += [Word(text=text, values=values) for values in self.expander.words_of(group, inner)]
        if not words:
            return None
        found, heredoc = self._redirects(redirects, inner, source, words[0])
        stdin = heredoc if heredoc is not None else stdin
        if words[0].value == "read":
            names = [word.value for word in words[1:] if word.value.isidentifier()]
            scope.variables.update({name: context.incoming if len(names) == 1 else UNKNOWN for name in names})
        invocation = Invocation(
            words=words,
            redirects=found,
            stdin=stdin,
            join=context.join,
            scope=inner,
            source=source,
            incoming=context.incoming,
            is_piped=context.is_piped,
        )
        verdict = self.run(self, invocation)
        if inner is not scope:
            scope.folder, scope.functions = inner.folder, inner.functions
        return verdict

    def _source(self, node: "Node", scope: Scope, text: str) -> Source:
        if self.origin is not None:
            return self.origin
        lines = (text or text_of(node)).strip().splitlines()
        return Source(file=scope.file, line=node.start_point.row + 1, text=lines[0][:_LONGEST_TEXT] if lines else "")

    def _assign(self, node: "Node", scope: Scope, behind: Sequence["Node"] = ()) -> None:
        """`NAME=value`; `behind`: what belongs to the value and stands outside its node."""
        named = node.named_children
        if not named:
            return
        name = text_of(named[0])
        values = self.expander.values_of([*named[1:], *behind], scope) if len(named) > 1 or behind else ("",)
        if any(child.type == "+=" for child in node.children):
            values = tuple(old + new for old in scope.value(name) for new in values)[:_FEW]
        if named[0].type == "variable_name":
            scope.variables[name] = values

    # --- redirections -------------------------------------------------------------------------------------------------

    def _redirect_block(self, context: _Context, scope: Scope, node: "Node") -> None:
        """Redirections of a whole block (`{ ...; } > file`, `( ... ) 9> lock`), before what is inside."""
        if context.redirects:
            source = self._source(node, scope, "")
            self._redirects(context.redirects, scope, source, Word(text="", values=("",)))
            context.redirects = []

    def _redirects(
        self, nodes: Sequence["Node"], scope: Scope, source: Source, command: Word
    ) -> tuple[list[Redirect], str | None]:
        found: list[Redirect] = []
        stdin: str | None = None
        for node in nodes:
            if node.type == "file_redirect":
                if (redirect := self._file_redirect(node, scope)) is not None:
                    found.append(redirect)
                    stdin = self._text_of_file(redirect, scope) or stdin
            elif node.type == "herestring_redirect" and node.named_children:
                stdin = self.expander.values(node.named_children[-1], scope)[0]
            elif node.type == "heredoc_redirect":
                stdin = "".join(text_of(child) for child in node.named_children if child.type == "heredoc_body")
                inner = [child for child in node.named_children if child.type == "file_redirect"]
                found += self._redirects(inner, scope, source, command)[0]
        has_errors = any(r.operator == ">&" and r.fd == 2 and r.target.value == "1" for r in found)
        for redirect in found:
            self._redirect_effect(redirect, scope, source, has_errors=has_errors)
        return found, stdin

    def _text_of_file(self, redirect: Redirect, scope: Scope) -> str | None:
        """What comes in from a file whose text is there: the SQL of `sqlite3 DB < FILE`."""
        if redirect.operator != "<" or scope.place or not is_plain(redirect.target.value):
            return None
        entry = self.findings.scripts.get(absolute(redirect.target.value, scope.folder))
        return entry.text if isinstance(entry, Script) else None

    def _file_redirect(self, node: "Node", scope: Scope) -> Redirect | None:
        fd: int | None = None
        operator = ""
        for child in node.children:
            if child.type == "file_descriptor" and text_of(child).isdigit():
                fd = int(text_of(child))
            elif not child.is_named:
                operator = text_of(child)
        groups = redirect_words(node)
        if not groups:
            return None
        if groups[0][0].type == "process_substitution":
            self._sequence(groups[0][0].children, scope.copy(), _Context(join="|"))
            return None
        values = self.expander.values_of(groups[0], scope)
        if operator in ("&>", "&>>") or (operator == ">&" and fd is None and not values[0].isdigit()):
            fd, operator = -1, ">>" if operator == "&>>" else ">"
        if fd is None:
            fd = 0 if operator.startswith("<") else 1
        if operator in (">|", ">"):
            operator = ">"
        text = "".join(text_of(part) for part in groups[0])
        return Redirect(fd=fd, operator=operator, target=Word(text=text, values=values))

    def _redirect_effect(self, redirect: Redirect, scope: Scope, source: Source, *, has_errors: bool) -> None:
        if redirect.operator in (">&", "<&"):
            return
        for value in redirect.target.values:
            path = absolute(value, scope.folder)
            if redirect.fd > 2:
                scope.descriptors[redirect.fd] = path
                continue
            kind = "read" if redirect.operator == "<" else "append" if redirect.operator == ">>" else "write"
            is_output = kind != "read" and (redirect.fd in (2, -1) or has_errors)
            effect = Effect(
                kind=kind, target=path, place=scope.place, by=redirect.operator, is_output=is_output, source=source
            )
            self.findings.add(effect)

    # --- $( ... ) -----------------------------------------------------------------------------------------------------

    def _substitute(self, node: "Node", scope: Scope) -> Values:
        inner = scope.copy()
        statements = [child for child in node.named_children if child.type != "comment"]
        output: Values = ("",)
        for statement in statements:
            if statement.type == "file_redirect":  # $(< file)
                self._redirects([statement], inner, self._source(node, scope, ""), Word(text="", values=("",)))
                output = UNKNOWN
                continue
            output = self._output(statement, inner)
            self._statement(statement, inner, _Context(join=""))
        return output

    def _output(self, node: "Node", scope: Scope) -> Values:
        """What a statement prints, as far as that can be known."""
        if node.type == "pipeline":
            incoming = UNKNOWN
            for stage in node.named_children:
                words = self._quiet_words(stage, scope)
                incoming = printed(words, scope, incoming) if words else UNKNOWN
            return incoming
        if node.type == "list":  # cd DIR && pwd
            inner = scope.copy()
            *before, last = spine(node)
            for part in before:
                words = self._quiet_words(part, inner)
                if words and words[0] == ("cd",) and len(words) > 1:
                    inner.folder = absolute(words[-1][0], inner.folder)
            return self._output(last, inner)
        words = self._quiet_words(node, scope)
        return printed(words, scope, UNKNOWN) if words else UNKNOWN

    def _quiet_words(self, node: "Node", scope: Scope) -> list[Values]:
        """The words of a simple command; nested substitutions in them are looked at where the command is run."""
        if node.type == "redirected_statement" and node.named_children:
            node = node.named_children[0]
        if node.type != "command":
            return []
        quiet = Expander(substitute=lambda n, s: self._inner_output(n, s), unique=UNIQUE)
        return [word for group in parts(node, ())[1] for word in quiet.words_of(group, scope)]

    def _inner_output(self, node: "Node", scope: Scope) -> Values:
        self.findings.step()
        self.findings.deeper()
        try:
            statements = [child for child in node.named_children if child.type != "comment"]
            return self._output(statements[-1], scope) if statements else ("",)
        finally:
            self.findings.levels -= 1

    def _substitutions(self, node: "Node", scope: Scope) -> None:
        """The `$(...)` in a condition: what they do counts, what they print does not."""
        for child in node.named_children:
            if child.type == "command_substitution":
                self._substitute(child, scope)
            elif child.type in ("string", "concatenation", "unary_expression", "binary_expression"):
                self._substitutions(child, scope)
