"""How the bundled model is made: its world of drawn scenes, its recipe, and how well it does."""
