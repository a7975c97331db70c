"""Services for people, by apprise: only those whose host is fixed by the service.

apprise makes connections of its own, past the guard of `reaching.py`. So nobody gives an apprise URL: it may name any
host, switch off the check of certificates (`verify=no`) or read files (`template=`). What a service shows its users is
taken apart by a pattern that holds its host, and handed over as arguments. Redirects are off.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.google_chat import NotifyGoogleChat
from apprise.plugins.ntfy import NotifyNtfy, NtfyMode
from apprise.plugins.pushover import NotifyPushover
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram
from apprise.plugins.workflows import NotifyWorkflows

from stoker_metrics.notifications.errors import TargetAddressInvalid
from stoker_metrics.notifications.payloads import Words

# It logs addresses of targets when it is asked for details.
logging.getLogger("apprise").setLevel(logging.CRITICAL)

_TOKEN = r"[A-Za-z0-9_-]+"  # noqa: S105 - a pattern
_ASSET = AppriseAsset(app_id="Stoker", app_desc="Stoker", async_mode=False, http_redirects=False)
_OPTIONS: dict[str, Any] = {"asset": _ASSET, "format": NotifyFormat.TEXT, "rto": 10.0, "cto": 10.0}


@dataclass(frozen=True, slots=True)
class Channel:
    """One service: how its address looks, its plugin, and what of the address the plugin is given."""

    form: str
    pattern: re.Pattern[str]
    plugin: Any
    arguments: Callable[[re.Match[str]], dict[str, Any]]


CHANNELS: dict[str, Channel] = {
    "slack": Channel(
        "https://hooks.slack.com/services/T.../B.../...",
        re.compile(r"https://hooks\.slack\.com/services/([A-Z0-9]+)/([A-Z0-9]+)/([A-Za-z0-9]+)"),
        NotifySlack,
        lambda m: {"token_a": m[1], "token_b": m[2], "token_c": m[3], "include_image": False},
    ),
    "discord": Channel(
        "https://discord.com/api/webhooks/<id>/<token>",
        re.compile(rf"https://(?:discord|discordapp)\.com/api/webhooks/([0-9]+)/({_TOKEN})"),
        NotifyDiscord,
        lambda m: {"webhook_id": m[1], "webhook_token": m[2]},
    ),
    "teams": Channel(
        "https://<region>.logic.azure.com/workflows/<id>/triggers/manual/paths/invoke?...&sig=...",
        re.compile(
            r"https://((?:[a-z0-9-]+\.){1,3}logic\.azure\.com)(?::443)?/workflows/([0-9a-f]{32})"
            rf"/triggers/manual/paths/invoke\?(?:[A-Za-z0-9%=._-]+&)*sig=({_TOKEN})(?:&[A-Za-z0-9%=._-]+)*"
        ),
        NotifyWorkflows,
        lambda m: {
            "host": m[1],
            "workflow": m[2],
            "signature": m[3],
            "include_image": False,
            "secure": True,
            "schema": "workflows",
        },
    ),
    "telegram": Channel(
        "tgram://<bot token>/<chat id>",
        re.compile(r"tgram://([0-9]+:[A-Za-z0-9_-]+)/(-?[0-9]+|@[A-Za-z0-9_]+)"),
        NotifyTelegram,
        lambda m: {"bot_token": m[1], "targets": [m[2]], "detect_owner": False, "include_image": False},
    ),
    "pushover": Channel(
        "pover://<user key>@<token>",
        re.compile(r"pover://([A-Za-z0-9]{30})@([A-Za-z0-9]{30})"),
        NotifyPushover,
        lambda m: {"user_key": m[1], "token": m[2]},
    ),
    "ntfy": Channel(
        "https://ntfy.sh/<topic>",
        re.compile(r"https://ntfy\.sh/([A-Za-z0-9_-]{1,64})"),
        NotifyNtfy,
        lambda m: {"targets": [m[1]], "mode": NtfyMode.CLOUD, "include_image": False},
    ),
    "google_chat": Channel(
        "https://chat.googleapis.com/v1/spaces/<space>/messages?key=...&token=...",
        re.compile(
            rf"https://chat\.googleapis\.com/v1/spaces/({_TOKEN})/messages\?key=({_TOKEN})&token=([A-Za-z0-9_%=-]+)"
        ),
        NotifyGoogleChat,
        lambda m: {"workspace": m[1], "webhook_key": m[2], "webhook_token": m[3]},
    ),
}


def channel_plugin(kind: str, address: str) -> Any:
    """The plugin for an address.

    Raises:
        TargetAddressInvalid: it is not of this service. Says its form, not what was given.
    """
    channel = CHANNELS[kind]
    found = channel.pattern.fullmatch(address)
    if found is None or not address.isascii():
        raise TargetAddressInvalid(kind, channel.form)
    try:
        return channel.plugin(**channel.arguments(found), **_OPTIONS)
    except TypeError as error:  # so apprise says that a token cannot be one
        raise TargetAddressInvalid(kind, channel.form) from error


async def send_by_channel(kind: str, address: str, message: Words) -> bool:
    """Whether the service took it. In a thread: apprise waits by itself, for at most some 10 s each way.

    Raises:
        TargetAddressInvalid: the address is not of this service.
    """
    sender = Apprise(asset=_ASSET)
    sender.add(channel_plugin(kind, address))
    return bool(
        await asyncio.to_thread(sender.notify, title=message.title, body=message.text, notify_type=NotifyType.INFO)
    )
