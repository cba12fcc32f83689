"""Resolved recipe + dataset facts + machine -> Plan. Pure: it reads nothing and starts nothing
once it has its facts.
"""
