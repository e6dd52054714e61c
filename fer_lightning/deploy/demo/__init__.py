"""The page of `fer demo`: drop a picture, see what a net reads in each face, and what it cannot know."""
