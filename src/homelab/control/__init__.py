"""The one place where what the lab should be meets what it is: load, observe, plan, apply; schedules; the API."""
