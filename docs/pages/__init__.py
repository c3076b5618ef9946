"""The part of the documentation that is made from the code when the site is built, so that it cannot lag behind it."""
