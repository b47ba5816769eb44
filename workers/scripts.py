"""The store's scripts. Each runs inside the server, so that each step of a shard's life is one.

A job's keys, in this order: head, open, live, leases, attempts, failed, deaths. The service's own keys (which shards
wait, by priority; which wait for a later time) are found through the job's head, which names its queue and priority.
"""

from __future__ import annotations

_SERVICE = """
local function now()
  local t = redis.call('TIME')
  return t[1] + t[2] / 1000000
end
local function member(shard) return string.match(KEYS[1], '{(.*)}') .. ' ' .. shard end
local function place(kind)
  local head = redis.call('HMGET', KEYS[1], 'queue', 'priority')
  if kind ~= 'waiting' then return 'pixelmill-service:' .. (head[1] or 'pixelmill') .. ':' .. kind end
  return 'pixelmill-service:' .. (head[1] or 'pixelmill') .. ':waiting:' .. (head[2] or 'normal')
end
local function wait(shard, kind, score, seconds)
  local key = place(kind)
  redis.call('ZADD', key, score, member(shard))
  redis.call('EXPIRE', key, seconds)
end
local function wait_no_more(shard)
  redis.call('ZREM', place('waiting'), member(shard))
  redis.call('ZREM', place('later'), member(shard))
end
local function holds(shard, attempt)
  local live = redis.call('HGET', KEYS[3], shard)
  return live and cjson.decode(live).attempt == attempt
end
"""

_COUNT = """
local function count(key, images)
  local minute = math.floor(redis.call('TIME')[1] / 60)
  if redis.call('HINCRBY', key, minute, images) == images then -- a new minute: older ones go
    for _, kept in ipairs(redis.call('HKEYS', key)) do
      if tonumber(kept) <= minute - 60 then redis.call('HDEL', key, kept) end
    end
  end
  redis.call('EXPIRE', key, 3660)
end
"""

# images: count them as finished in this minute; the key is the service's
COUNT = _COUNT + "count(KEYS[1], tonumber(ARGV[1]))\n"

# shard, message, seconds to keep
OPEN = (
    _SERVICE
    + """
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[3]) end
wait(ARGV[1], 'waiting', now(), ARGV[3])
"""
)

# shard, attempt, lease seconds
BEGIN = (
    _SERVICE
    + """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then
  wait_no_more(ARGV[1])
  return {'gone'}
end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return {'done'} end
local lease = redis.call('ZSCORE', KEYS[4], ARGV[1])
if lease and tonumber(lease) > now() then
  return {'busy', cjson.decode(redis.call('HGET', KEYS[3], ARGV[1])).attempt}
end
wait_no_more(ARGV[1])
redis.call('ZADD', KEYS[4], now() + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], cjson.encode({attempt = ARGV[2], ok = 0, failed = 0}))
return {'begun', redis.call('HINCRBY', KEYS[5], ARGV[1], 1)}
"""
)

# shard, attempt, lease seconds, ok, failed
BEAT = (
    _SERVICE
    + """
if not holds(ARGV[1], ARGV[2]) then return 'lost' end
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 'cancelled' end
redis.call('ZADD', KEYS[4], now() + ARGV[3], ARGV[1])
local counts = {attempt = ARGV[2], ok = tonumber(ARGV[4]), failed = tonumber(ARGV[5])}
redis.call('HSET', KEYS[3], ARGV[1], cjson.encode(counts))
return 'ok'
"""
)

# shard, attempt, ok, JSON of failures by code
FINISH = (
    _SERVICE
    + _COUNT
    + """
if not holds(ARGV[1], ARGV[2]) then return 0 end
wait_no_more(ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[7], ARGV[1])
redis.call('HDEL', KEYS[1], 'held_up', 'held_up_since')
redis.call('HINCRBY', KEYS[1], 'ok', ARGV[3])
local images = tonumber(ARGV[3])
for code, failed in pairs(cjson.decode(ARGV[4])) do
  redis.call('HINCRBY', KEYS[6], code, failed)
  images = images + failed
end
if images > 0 then count(place('finished'), images) end
return 1
"""
)

# shard, attempt ('': whoever's lease ran out), seconds until it may run again
TAKE_BACK = (
    _SERVICE
    + """
if not redis.call('HGET', KEYS[3], ARGV[1]) then return nil end
if ARGV[2] ~= '' then
  if not holds(ARGV[1], ARGV[2]) then return nil end
else
  local lease = redis.call('ZSCORE', KEYS[4], ARGV[1])
  if lease and tonumber(lease) > now() then return nil end
end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
if redis.call('HGET', KEYS[1], 'state') == 'running' then
  local pause = tonumber(ARGV[3])
  wait(ARGV[1], pause > 0 and 'later' or 'waiting', now() + pause, 604800)
end
return redis.call('HGET', KEYS[2], ARGV[1])
"""
)

# shard, attempt, cause; the first one stays: a process that ends itself knows better why than its parent
NOTE_DEATH = (
    _SERVICE
    + """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 0 end
local deaths = cjson.decode(redis.call('HGET', KEYS[7], ARGV[1]) or '{}')
deaths[ARGV[2]] = deaths[ARGV[2]] or ARGV[3]
redis.call('HSET', KEYS[7], ARGV[1], cjson.encode(deaths))
redis.call('EXPIRE', KEYS[7], 604800)
return 1
"""
)

# shard: an open shard nobody holds waits from now on (again); gives its message
WAIT = (
    _SERVICE
    + """
local message = redis.call('HGET', KEYS[2], ARGV[1])
if not message or redis.call('HGET', KEYS[1], 'state') ~= 'running' then
  wait_no_more(ARGV[1])
  return nil
end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return nil end
wait_no_more(ARGV[1])
wait(ARGV[1], 'waiting', now(), 604800)
return message
"""
)

# state, reason, whether there is one; an ended job stays as it ended, and one that is forgotten stays forgotten
END = """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'ended', t[1] + t[2] / 1000000)
if ARGV[3] == '1' then redis.call('HSETNX', KEYS[1], 'reason', ARGV[2]) end
return 1
"""
