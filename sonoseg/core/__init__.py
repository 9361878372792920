"""The ground floor: what every stage stands on. Imports no torch."""
