"""Where one lab keeps its state on one machine: folders, secrets, ports. HOMELAB_HOME is its root."""
