"""What the networks of finished runs say of other images than those they were tested on."""
