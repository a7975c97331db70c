"""Causes: the Hub, keys, the network between machine and services."""

from stoker_metrics.diagnosis.cause import CERTAIN, HINT, LIKELY, SURE, Cause
from stoker_shared.job_state import EndReason

_ROUTE = frozenset({"dns_failure", "tls_failure"})

ACCESS: tuple[Cause, ...] = (
    Cause(
        "gated_model",
        "The base model is gated, and the account of the Hub token has no access to it.",
        "Accept the model's terms on its page on the Hub, set your token (stoker secrets set huggingface), plan again.",
        patterns={
            r"GatedRepo": SURE,
            r"[Cc]annot access gated repo|trying to access a gated repo": SURE,
            r"Access to model \S+ is restricted": SURE,
            r"is gated\. You must be authenticated": SURE,
            r"awaiting a review from the repo authors": SURE,
        },
        changes=("with_hub_token",),
    ),
    Cause(
        "hub_token_refused",
        "The Hugging Face Hub refused the token.",
        "Set a valid token: stoker secrets set huggingface.",
        patterns={
            r"Invalid (user token|credentials in Authorization header)": SURE,
            r"Invalid username or password": LIKELY,
            r"(token|Token).*(expired|is invalid|revoked).*(hugging|hub|hf)": LIKELY,
            r"LocalTokenNotFoundError|Token is required": SURE,
            r"401 Client Error: Unauthorized for url: https://huggingface\.co/api/whoami": SURE,
        },
        changes=("same_again",),
        follows=frozenset({"gated_model"}),
    ),
    Cause(
        "model_not_found",
        "The base model does not exist under this name, path or revision.",
        "Check the model's name and revision.",
        patterns={
            r"Repo(sitory)?NotFound": LIKELY,
            r"Repository Not Found for url": LIKELY,
            r"Revision ?Not ?Found": SURE,
            r"is not a local folder and is not a valid model identifier": LIKELY,
            r"does not appear to have a file named (config\.json|pytorch_model)": LIKELY,
            r"is not a valid git identifier": SURE,
            r"ModelNotFound": LIKELY,
            r"Repo id must (be in the form|use alphanumeric)": LIKELY,
            r"Incorrect path_or_model_id": LIKELY,
        },
        reasons={EndReason.MODEL_NOT_FOUND: LIKELY},
        follows=_ROUTE | {"gated_model", "hub_token_refused", "hub_unreachable", "disk_full"},
    ),
    Cause(
        "dns_failure",
        "The machine could not resolve a name.",
        "Try again on another machine; if it persists, check the public addresses of this installation.",
        patterns={
            r"Name or service not known|Temporary failure in name resolution": SURE,
            r"NameResolutionError|Failed to resolve|getaddrinfo failed|nodename nor servname": SURE,
            r"No address associated with hostname|Could not resolve host": SURE,
            r"dns error: failed to lookup address": SURE,
        },
        changes=("other_offer", "same_again"),
    ),
    Cause(
        "tls_failure",
        "A certificate was not accepted: it is not trusted, or the machine's clock is wrong.",
        "Try again on another machine; if it persists, check the certificates of the addresses that are named.",
        patterns={
            r"CERTIFICATE_VERIFY_FAILED|certificate verify failed": SURE,
            r"SSLCertVerificationError": SURE,
            r"certificate (is not yet valid|has expired)": SURE,
            r"\bSSLError\b|SSLEOFError|TLSV1_ALERT|WRONG_VERSION_NUMBER|invalid peer certificate": LIKELY,
        },
        changes=("other_offer", "same_again"),
    ),
    Cause(
        "hub_unreachable",
        "The Hugging Face Hub could not be reached, or gave no answer in time.",
        "Try again, on another machine if it happens twice.",
        patterns={
            r"We couldn't connect to '?https?://": SURE,
            r"(huggingface\.co|hf\.co).*(timed out|Max retries exceeded|Connection (refused|reset|aborted))": SURE,
            r"(429|50[0234]) (Client|Server) Error.*(huggingface|hf\.co)": SURE,
            r"LocalEntryNotFoundError|couldn't find (it|them) in the cached files": LIKELY,
            r"cannot find the requested files in the local cache": LIKELY,
            r"OfflineModeIsEnabled": SURE,
            r"xet.*(timed out|error sending request|Network|CAS)|CAS service error": LIKELY,
        },
        changes=("same_again", "other_offer"),
        follows=_ROUTE | {"disk_full"},
    ),
    Cause(
        "gateway_unreachable",
        "The machine could not reach this installation's dataset gateway.",
        "Check the public address of the gateway (stoker doctor), then launch again.",
        patterns={
            r"(dataset|gateway|artifact|checkpoint).*could not be (fetched|reached|stored|sent)": LIKELY,
            r"(dataset|gateway|artifact|checkpoint|upload|download).*(not reachable|gave up)": LIKELY,
            r"dataset could not be fetched within|Is the gateway reachable": SURE,
            r"(fetch(ing)?|download(ing)?) (of )?the dataset.*(failed|ended|broke)": LIKELY,
            r"dataset.*(Connection refused|ConnectError|timed out)": LIKELY,
        },
        reasons={EndReason.ARTIFACT_UPLOAD_FAILED: LIKELY, EndReason.ARTIFACTS_MISSING: HINT},
        changes=("same_again", "other_offer"),
        follows=_ROUTE | {"disk_full", "token_rejected"},
    ),
    Cause(
        "metrics_unreachable",
        "The machine could not reach this installation's metrics service.",
        "Check the public address of the metrics service (stoker doctor), then launch again.",
        patterns={
            r"(report|metrics|heartbeat).*(not taken|could not be sent|not reachable|Connection refused)": LIKELY
        },
        changes=("same_again", "other_offer"),
        follows=_ROUTE | {"token_rejected"},
    ),
    Cause(
        "token_rejected",
        "The machine's token was no longer accepted: the attempt had been ended.",
        "Nothing to change: look at why the attempt was ended.",
        patterns={r"rejected the job token \(401\)": SURE, r"job_token_refused": LIKELY},
        reasons={EndReason.TOKEN_REJECTED: SURE},
        changes=("same_again",),
    ),
    Cause(
        "provider_key_refused",
        "The provider refused the key.",
        "Set a valid key for the provider: stoker secrets set.",
        reasons={EndReason.PROVIDER_AUTH_FAILED: CERTAIN},
        changes=("same_again",),
    ),
    Cause(
        "provider_funds",
        "The account at the provider is empty.",
        "Add funds at the provider, then launch again.",
        patterns={
            r"(balance|credits?|funds).*(too low|insufficient|not enough)|insufficient (funds|balance|credit)": LIKELY
        },
        reasons={EndReason.PROVIDER_FUNDS: CERTAIN},
        changes=("same_again",),
    ),
)
