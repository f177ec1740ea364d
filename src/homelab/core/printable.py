"""Foreign text made safe to print, to store and to put into a sentence. Pure."""

import unicodedata

_LINE_CHARS = 400


def harmless(text: str, *, limit: int = _LINE_CHARS) -> str:
    """One line of foreign text, safe to print and to store: control, format and unpaired characters become escapes
    (`\\x1b`, `\\u202e`), a tab a space; at most `limit` characters, the cut marked."""
    shown: list[str] = []
    for char in text[: limit + 1]:
        category = unicodedata.category(char)
        if char == "\t":
            shown.append(" ")
        elif category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            code = ord(char)
            shown.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
        else:
            shown.append(char)
    result = "".join(shown)
    return result if len(result) <= limit else result[: limit - 1] + "…"
