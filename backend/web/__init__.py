"""The embedded frontend: store, API v3, the `/backend/` namespace and the pages."""
