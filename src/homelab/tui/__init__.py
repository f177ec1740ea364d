"""`homelab top`: a lab on one terminal, by keyboard. One file a view, named in `views`; `keys` is the table of keys.

Everything shown or done goes through `/api/v1` of the running lab, by the door that `cli.top` hands in. The only
package that imports textual. What text looks like is decided by plain functions (`draw` of a view, `layout`), so that
the part that needs a terminal is small.
"""
