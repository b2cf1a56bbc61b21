"""What several services share."""

from libs import compiled

compiled.use()
