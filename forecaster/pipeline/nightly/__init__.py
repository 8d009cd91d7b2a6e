"""One night after the other: what is due, what is trained, who is champion, what is logged."""
