"""The one door to Tailscale: who the mesh says that somebody is."""
