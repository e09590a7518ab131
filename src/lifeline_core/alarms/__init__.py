"""Findings become alarms: graded, joined into episodes, life-cycled, said in words."""
