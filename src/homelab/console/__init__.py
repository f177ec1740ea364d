"""The console: the pages of a lab. `site.Console` is what `control.api.app` serves; one folder a screen, named in
`screens`.

Everything shown is asked of `control` by the same questions as `/api/v1`; nothing is decided here but how it looks.
"""
