"""JSON Web Tokens as the stack's services check them: HS256 with the bytes of the secret as it stands."""

import jwt


class Refused(Exception):
    """Why a token was not accepted."""


def claims(token, secret, audience_checked=False):
    """The claims of a valid token, or Refused."""
    try:
        return jwt.decode(token, secret, algorithms=["HS256"], options={"verify_aud": audience_checked})
    except jwt.PyJWTError as error:
        raise Refused(str(error)) from None


def has_type(token):
    """Realtime accepts a token only when its header says `typ: JWT`."""
    try:
        return jwt.get_unverified_header(token).get("typ") == "JWT"
    except jwt.PyJWTError:
        return False


def is_key(token, secret, role):
    """True for one of the project's two API keys: signed with its secret, carrying that role."""
    try:
        return claims(token, secret).get("role") == role
    except Refused:
        return False
