"""Which jobs of a crontab need which, proposed with the text it rests on. Pure. Called by `cli.cronread`."""
