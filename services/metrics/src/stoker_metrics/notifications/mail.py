"""E-mail, through the operator's server alone. Users give an address, never a server."""

import re
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Literal

import aiosmtplib
from pydantic import SecretStr

from stoker_metrics.notifications.errors import TargetAddressInvalid, TargetUnreachable
from stoker_metrics.notifications.payloads import Words

_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}")


@dataclass(frozen=True, slots=True)
class MailRules:
    """The operator's server. `domains`: where mail may go; empty: anywhere."""

    host: str
    port: int
    sender: str
    security: Literal["none", "starttls", "tls"] = "starttls"
    user: str | None = None
    password: SecretStr | None = None
    domains: tuple[str, ...] = ()
    timeout: timedelta = timedelta(seconds=20)


def demand_mail_address(address: str, rules: MailRules) -> None:
    """Raise if mail may not go there.

    Raises:
        TargetAddressInvalid: not one address, or in another domain than the operator permits.
    """
    domain = address.rpartition("@")[2].lower()
    if not _ADDRESS.fullmatch(address) or ".." in address or address.startswith("."):
        raise TargetAddressInvalid("email", "name@example.com")
    if rules.domains and domain not in rules.domains:
        raise TargetAddressInvalid("email", f"name@{' or @'.join(rules.domains)}")


async def send_mail(address: str, message: Words, rules: MailRules, *, message_id: str) -> None:
    """Hand one message to the operator's server.

    Raises:
        TargetUnreachable: it was not taken; says what the server's status was, not its words.
    """
    mail = EmailMessage()
    mail["From"] = rules.sender
    mail["To"] = address
    mail["Subject"] = message.title
    # The same in every attempt: a mail that comes twice can be seen to be the same.
    mail["Message-ID"] = f"<{message_id}@{rules.sender.rpartition('@')[2].rstrip('>')}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text or message.title)
    try:
        await aiosmtplib.send(
            mail,
            hostname=rules.host,
            port=rules.port,
            username=rules.user,
            password=rules.password.get_secret_value() if rules.password else None,
            use_tls=rules.security == "tls",
            start_tls=rules.security == "starttls",
            timeout=rules.timeout.total_seconds(),
        )
    except aiosmtplib.SMTPResponseException as error:
        raise TargetUnreachable(f"the mail server answered {error.code}") from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise TargetUnreachable(f"the mail server did not take it ({type(error).__name__})") from error
