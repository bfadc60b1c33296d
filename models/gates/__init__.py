"""What must hold before anything is trained or published: each check says what it found, what it wanted, and whether it stops."""
