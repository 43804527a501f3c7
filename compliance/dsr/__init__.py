"""Data-subject requests: opened, carried out, delivered (GDPR Art. 12, 15, 17)."""
