"""Every write to meetings and calls. Each leaves its entry, as the last statement of its transaction."""

from .meetings import cancel, expire_invitation, invite, invite_again, mail_sent, new_invitation_link, revoke_invitation, schedule
from .relays import relays_for
from .sittings import (
    admit,
    deny,
    end,
    end_without_host,
    enter_lobby,
    joined,
    leave,
    leave_unseen,
    left,
    open_call,
    ready,
    remove,
    step_back,
    wake_pages,
)
from .tickets import issue_ticket, use_ticket

__all__ = [
    "admit",
    "cancel",
    "deny",
    "end",
    "end_without_host",
    "enter_lobby",
    "expire_invitation",
    "invite",
    "invite_again",
    "issue_ticket",
    "joined",
    "leave",
    "leave_unseen",
    "left",
    "mail_sent",
    "new_invitation_link",
    "open_call",
    "ready",
    "relays_for",
    "remove",
    "revoke_invitation",
    "schedule",
    "step_back",
    "use_ticket",
    "wake_pages",
]
