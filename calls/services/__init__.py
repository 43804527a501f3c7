"""Every write to meetings and calls. Each leaves its entry, as the last statement of its transaction."""

from .meetings import cancel, invite, invite_again, mail_sent, new_invitation_link, revoke_invitation, schedule
from .sittings import admit, deny, end, enter_lobby, joined, leave, left, open_call, ready, remove, step_back, wake_pages
from .tickets import issue_ticket, use_ticket

__all__ = [
    "admit",
    "cancel",
    "deny",
    "end",
    "enter_lobby",
    "invite",
    "invite_again",
    "issue_ticket",
    "joined",
    "leave",
    "left",
    "mail_sent",
    "new_invitation_link",
    "open_call",
    "ready",
    "remove",
    "revoke_invitation",
    "schedule",
    "step_back",
    "use_ticket",
    "wake_pages",
]
