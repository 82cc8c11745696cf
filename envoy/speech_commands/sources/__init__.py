"""Where the clips come from: a folder, the hub, the official archives, or the synthesiser."""
