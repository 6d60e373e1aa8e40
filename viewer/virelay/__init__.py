"""ViRelAy's projects and views."""
