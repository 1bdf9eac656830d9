# SPDX-License-Identifier: Apache-2.0
"""What each error code says, whatever the call was; unlisted ones are told by their status."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["CODES", "Meaning", "meaning_of"]


class Meaning(StrEnum):
    """What an answer says."""

    ABSENT = "absent"  # there is no such object
    CONDITION = "condition"  # what stands is not what the request asked for
    GONE = "gone"  # the bucket or queue is not there
    DENIED = "denied"  # access is refused
    KEY = "key"  # the encryption key of the bucket, object or queue cannot be used
    OWN_KEY = "own_key"  # the object is encrypted with a key that only its owner has (SSE-C)
    ARCHIVED = "archived"  # the object has to be restored first
    ELSEWHERE = "elsewhere"  # the bucket is in another region, or has another endpoint
    UNFIT = "unfit"  # the request can never be met there
    UNKNOWN_TO_IT = "unknown_to_it"  # the store does not know this kind of request
    CONTENT = "content"  # the message: its size, its letters, its attributes
    RECEIPT = "receipt"  # the receipt counts no more
    CREDENTIALS = "credentials"  # the worker's keys
    CLOCK = "clock"  # the node's clock is wrong
    BUSY = "busy"  # for now


#: Each code once. From the service models of botocore, the lists of errors in the API references of S3 and SQS, and
#: what MinIO, R2, B2, Ceph, ElasticMQ and moto answer.
CODES: Mapping[Meaning, tuple[str, ...]] = {
    Meaning.ABSENT: ("404", "NoSuchAnnotation", "NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NotFound"),
    Meaning.CONDITION: ("304", "412", "416", "InvalidRange", "NotModified", "PreconditionFailed"),
    Meaning.GONE: (
        "InvalidAddress",
        "InvalidBucketName",
        "InvalidBucketState",
        "NoSuchAccessPoint",
        "NoSuchBucket",
        "NonExistentQueue",
        "QueueDeletedRecently",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    ),
    Meaning.DENIED: (
        "401",
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AccountProblem",
        "AllAccessDisabled",
        "AuthFailure",
        "Forbidden",
        "InvalidPayer",
        "InvalidSecurity",
        "NotSignedUp",
        "OptInRequired",
        "Unauthorized",
        "UnauthorizedAccess",
    ),
    Meaning.KEY: (
        "EncryptionTypeMismatch",
        "KMS.AccessDeniedException",
        "KMS.DisabledException",
        "KMS.IncorrectKeyException",
        "KMS.InvalidArnException",
        "KMS.InvalidKeyUsageException",
        "KMS.InvalidStateException",
        "KMS.KMSInvalidStateException",
        "KMS.KeyUnavailableException",
        "KMS.NotFoundException",
        "KMS.UnsupportedOperationException",
        "KmsAccessDenied",
        "KmsDisabled",
        "KmsInvalidKeyUsage",
        "KmsInvalidState",
        "KmsNotFound",
        "KmsOptInRequired",
    ),
    Meaning.OWN_KEY: ("InvalidEncryptionAlgorithmError", "ServerSideEncryptionCustomerKeyRequired"),
    Meaning.ARCHIVED: ("InvalidObjectState", "ObjectNotInActiveTierError"),
    Meaning.ELSEWHERE: (
        "301",
        "307",
        "308",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    ),
    Meaning.UNFIT: (
        "400",
        "405",
        "413",
        "AnnotationLimitExceeded",
        "AnnotationNameTooLong",
        "BadDigest",
        "BadRequest",
        "BatchEntryIdsNotDistinct",
        "BucketAlreadyExists",
        "BucketAlreadyOwnedByYou",
        "EmptyBatchRequest",
        "EntityTooLarge",
        "EntityTooSmall",
        "IdempotencyParameterMismatch",
        "InvalidAnnotationName",
        "InvalidArgument",
        "InvalidBatchEntryId",
        "InvalidDigest",
        "InvalidPrefix",
        "InvalidRequest",
        "InvalidStorageClass",
        "InvalidTag",
        "InvalidURI",
        "InvalidWriteOffset",
        "KeyTooLongError",
        "MalformedXML",
        "MethodNotAllowed",
        "MissingContentLength",
        "ObjectAlreadyInActiveTierError",
        "ObjectLockConfigurationNotFoundError",
        "PurgeQueueInProgress",
        "QueueNameExists",
        "TooManyEntriesInBatchRequest",
        "TooManyParts",
        "UnsupportedMediaType",
        "XAmzContentSHA256Mismatch",
    ),
    Meaning.UNKNOWN_TO_IT: ("501", "NotImplemented", "UnsupportedHeader", "UnsupportedOperation"),
    Meaning.CONTENT: (
        "BatchRequestTooLong",
        "InvalidAttributeName",
        "InvalidAttributeValue",
        "InvalidMessageContents",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MessageTooLong",
        "MissingParameter",
        "RequestEntityTooLarge",
    ),
    Meaning.RECEIPT: ("InvalidIdFormat", "MessageNotInflight", "ReceiptHandleIsInvalid"),
    Meaning.CREDENTIALS: (
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingSecurityHeader",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    ),
    Meaning.CLOCK: ("RequestExpired", "RequestTimeTooSkewed"),
    Meaning.BUSY: (
        "408",
        "409",
        "425",
        "429",
        "500",
        "502",
        "503",
        "504",
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "ConflictException",
        "IncompleteBody",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "KMS.DependencyTimeoutException",
        "KMS.KMSInternalException",
        "KMS.LimitExceededException",
        "KMS.ThrottlingException",
        "KmsThrottled",
        "OperationAborted",
        "OverLimit",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerBusy",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "XMinioServerNotInitialized",
        "XMinioStorageFull",
    ),
}

_MEANINGS: Mapping[str, Meaning] = {code: meaning for meaning, codes in CODES.items() for code in codes}
#: What an unlisted code of the key service ends with where it is only for now.
_PASSING_KEY_WORDS = ("throttl", "limit", "timeout", "internal", "unavailableexception")
#: Of unlisted codes, by their status.
_STATUSES: Mapping[int, Meaning] = {
    401: Meaning.DENIED,
    403: Meaning.DENIED,
    404: Meaning.ABSENT,
    408: Meaning.BUSY,
    409: Meaning.BUSY,
    412: Meaning.CONDITION,
    416: Meaning.CONDITION,
    425: Meaning.BUSY,
    429: Meaning.BUSY,
    501: Meaning.UNKNOWN_TO_IT,
}
#: Of the rest, by the hundreds of the status.
_CLASSES: Mapping[int, Meaning] = {3: Meaning.ELSEWHERE, 4: Meaning.UNFIT, 5: Meaning.BUSY}


def meaning_of(code: str, status: int = 0, message: str = "") -> Meaning:
    """What an answer says.

    Args:
        code: As `reading.code_name` gives it; empty where the answer has none.
        status: Of HTTP; 0 where it is not known.
        message: The service's own words: some codes say nothing without them.
    """
    told = _by_words(code, message.lower()) or _MEANINGS.get(code)
    if told is not None:
        return told
    if code.lower().startswith("kms"):
        return Meaning.BUSY if any(word in code.lower() for word in _PASSING_KEY_WORDS) else Meaning.KEY
    return _STATUSES.get(status) or _CLASSES.get(status // 100, Meaning.BUSY)


def _by_words(code: str, message: str) -> Meaning | None:
    """What the words tell of codes that are used for many things."""
    if code in {"InvalidRequest", "InvalidArgument", "400"}:
        if "server side encryption" in message or "server-side-encryption-customer" in message:
            return Meaning.OWN_KEY
        if "version id" in message:
            return Meaning.ABSENT
    if code == "AccessDenied" and "request has expired" in message:
        return Meaning.CLOCK
    return None
