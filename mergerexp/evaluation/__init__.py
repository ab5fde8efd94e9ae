"""How the networks of finished runs classify other images than those on which they were tested."""
