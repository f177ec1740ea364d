"""The one door to Prefect: its REST API, its server process, our worker type and the Python flow runner."""
