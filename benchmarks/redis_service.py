"""Y3, the Redis service: one script takes a code off a set and notes who has it; `appendfsync always`."""

import os

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from redis.asyncio import Redis

SCRIPT = """
local code = redis.call('SPOP', KEYS[1])
if code then redis.call('HSET', KEYS[2], code, ARGV[1]) end
return code
"""

redis = Redis(unix_socket_path=os.environ["REDIS_SOCKET"], decode_responses=True)
take = redis.register_script(SCRIPT)
app = FastAPI()


class Request(BaseModel):
    """Whom a code is for."""

    customer_id: str


class Reply(BaseModel):
    """A code."""

    code: str
    customer_id: str


@app.post("/assign", status_code=201)
async def assign(body: Request) -> Reply:
    """Hand out a code."""
    code = await take(keys=["pool", "assigned"], args=[body.customer_id])
    if code is None:
        raise HTTPException(409)
    return Reply(code=code, customer_id=body.customer_id)
