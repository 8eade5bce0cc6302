"""`python -m vipcli.docs` writes the reference page anew."""

from vipcli.docs import PAGE, reference

PAGE.write_text(reference(), encoding="utf-8")
