"""What Discord's API v10 says, as it was recorded: documents of users, servers, messages and interactions.

Ids are snowflakes, whose upper bits are the time, for clients read it from them.
"""

import itertools
import time
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

EPOCH_MS = 1420070400000
_count = itertools.count()


def snowflake() -> str:
    return str((int(time.time() * 1000) - EPOCH_MS) << 22 | next(_count) & 0xFFF)


APPLICATION = snowflake()
GUILD = snowflake()
CHANNEL = snowflake()
ALL_PERMISSIONS = "9007199254740991"


def user(id: str, name: str, *, bot: bool = False) -> Document:
    return {
        "id": id,
        "username": name,
        "global_name": None if bot else name.title(),
        "discriminator": "0",
        "avatar": None,
        "avatar_decoration_data": None,
        "banner": None,
        "bot": bot,
        "clan": None,
        "collectibles": None,
        "primary_guild": None,
        "public_flags": 0,
    }


BOT = user(APPLICATION, "painter", bot=True)
ANNA = user(snowflake(), "anna")
BERT = user(snowflake(), "bert")


def application() -> Document:
    return {
        "id": APPLICATION,
        "name": "painter",
        "icon": None,
        "description": "",
        "summary": "",
        "bot_public": True,
        "bot_require_code_grant": False,
        "flags": 0,
        "interactions_endpoint_url": None,
        "owner": ANNA,
        "team": None,
        "verify_key": "0" * 64,
    }


def channel() -> Document:
    return {
        "id": CHANNEL,
        "guild_id": GUILD,
        "type": 0,
        "name": "pictures",
        "topic": None,
        "nsfw": False,
        "position": 0,
        "parent_id": None,
        "last_message_id": None,
        "rate_limit_per_user": 0,
        "flags": 0,
        "permission_overwrites": [],
    }


def member(of: Document) -> Document:
    return {
        "user": of,
        "avatar": None,
        "banner": None,
        "communication_disabled_until": None,
        "deaf": False,
        "flags": 0,
        "joined_at": "2025-02-28T14:56:24.701000+00:00",
        "mute": False,
        "nick": None,
        "pending": False,
        "premium_since": None,
        "roles": [],
    }


def guild() -> Document:
    everyone = {"id": GUILD, "name": "@everyone", "permissions": ALL_PERMISSIONS, "position": 0, "color": 0}
    return {
        "id": GUILD,
        "name": "Painters",
        "icon": None,
        "owner_id": ANNA["id"],
        "afk_timeout": 300,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "preferred_locale": "en-US",
        "system_channel_flags": 0,
        "features": [],
        "emojis": [],
        "stickers": [],
        "roles": [{**everyone, "hoist": False, "managed": False, "mentionable": False, "flags": 0}],
        "channels": [channel()],
        "threads": [],
        "members": [member(BOT)],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "member_count": 3,
        "large": False,
        "unavailable": False,
        "joined_at": "2025-02-28T14:56:24.701000+00:00",
    }


def ready(session: str, resume_url: str, shard: list[int]) -> Document:
    return {
        "v": 10,
        "user": BOT,
        "user_settings": {},
        "guilds": [{"id": GUILD, "unavailable": True}],
        "session_id": session,
        "session_type": "normal",
        "resume_gateway_url": resume_url,
        "shard": shard,
        "application": {"id": APPLICATION, "flags": 0},
        "private_channels": [],
        "relationships": [],
        "presences": [],
        "geo_ordered_rtc_regions": [],
        "_trace": ["loopback"],
    }


def message(id: str, asker: Document, *, flags: int = 0) -> Document:
    return {
        "id": id,
        "channel_id": CHANNEL,
        "type": 20,
        "author": BOT,
        "application_id": APPLICATION,
        "webhook_id": APPLICATION,
        "content": "",
        "timestamp": "2026-01-01T00:00:00.000000+00:00",
        "edited_timestamp": None,
        "flags": flags,
        "attachments": [],
        "components": [],
        "embeds": [],
        "mentions": [],
        "mention_roles": [],
        "mention_everyone": False,
        "pinned": False,
        "tts": False,
        "interaction": {"id": id, "type": 2, "name": "landscape", "user": asker},
    }


def attachment(name: str, content: bytes, url: str) -> Document:
    return {"id": snowflake(), "filename": name, "size": len(content), "url": url, "proxy_url": url}


def _interaction(kind: int, asker: Document, data: Mapping[str, Any]) -> Document:
    id = snowflake()
    return {
        "id": id,
        "application_id": APPLICATION,
        "type": kind,
        "token": f"token-of-{id}",
        "version": 1,
        "data": data,
        "guild_id": GUILD,
        "guild": {"id": GUILD, "locale": "en-US", "features": []},
        "guild_locale": "en-US",
        "locale": "en-US",
        "channel_id": CHANNEL,
        "channel": {**channel(), "permissions": ALL_PERMISSIONS},
        "member": {**member(asker), "permissions": ALL_PERMISSIONS, "unusual_dm_activity_until": None},
        "app_permissions": ALL_PERMISSIONS,
        "attachment_size_limit": 10485760,
        "authorizing_integration_owners": {"0": GUILD},
        "context": 0,
        "entitlements": [],
        "entitlement_sku_ids": [],
    }


_OPTION_TYPES = {str: 3, int: 4}


def command(registered: Document, options: Mapping[str, str | int], asker: Document) -> Document:
    """INTERACTION_CREATE of somebody who typed a slash command."""
    given = [{"name": k, "type": _OPTION_TYPES[type(v)], "value": v} for k, v in options.items()]
    data = {"id": registered["id"], "name": registered["name"], "type": 1, "options": given}
    return _interaction(2, asker, data)


def press(custom_id: str, under: Document, asker: Document) -> Document:
    """INTERACTION_CREATE of somebody who pressed a button."""
    data = {"component_type": 2, "custom_id": custom_id, "id": 2}
    return {**_interaction(3, asker, data), "message": under}
