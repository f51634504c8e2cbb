"""What the frame of the portal's pages asks."""
