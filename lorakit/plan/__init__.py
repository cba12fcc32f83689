"""Resolved recipe + dataset facts + machine -> Plan. Pure once it has its facts."""
