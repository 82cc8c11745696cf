"""Opens a corpus: from folders, the hub, the official archives or the synthesiser."""
