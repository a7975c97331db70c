"""What the api says about users."""

from datetime import datetime

from pydantic import BaseModel


class Account(BaseModel):
    """The user that a key belongs to."""

    user_id: str
    name: str
    is_admin: bool
    key_name: str
    key_expires_at: datetime | None = None
