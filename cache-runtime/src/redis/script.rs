//! What has to happen at once on the server: short Lua texts, sent whole with each call, so that none is ever missing
//! there. All keys of one call are in one slot.
//!
//! `pcall` where a foreign key of another type may lie under our name: it then compares as missing, and is overwritten.

/// A function of the scripts that follow it: whether a value is a list of writers' marks, and until when the last of them is
/// good. A mark is the writer (16 bytes) and the server's time in ms until which it is good (14 digits).
macro_rules! marks {
    () => {
        "\
local function now() local t=redis.call('TIME') return t[1]*1000+math.floor(t[2]/1000) end
local function marked(v) return type(v)=='string' and v:sub(1,7)=='\\1fence:' end
local function till(v) local last=0
for i=8,#v,30 do last=math.max(last,tonumber(v:sub(i+16,i+29)) or 0) end
return last end
"
    };
}

/// KEYS cell · ARGV nonce and stamp, stamp, ms or nothing for ever. A longer life is a change of which everybody is told who
/// has a copy of what depends on the cell: it is made twice as long as asked, and not again before half of that is over.
pub(super) const ENSURE: &str = concat!(
    marks!(),
    "\
local v=redis.pcall('GET',KEYS[1])
if type(v)=='string' and #v==24 and v:sub(17)==ARGV[2] then
if ARGV[3]=='' then redis.call('PERSIST',KEYS[1]) else
local t=redis.call('PTTL',KEYS[1])
if t>=0 and t<tonumber(ARGV[3]) then redis.call('PEXPIRE',KEYS[1],2*ARGV[3]) end end
return v end
if marked(v) and till(v)>now() then return false end
if ARGV[3]=='' then redis.call('SET',KEYS[1],ARGV[1]) else redis.call('SET',KEYS[1],ARGV[1],'PX',2*ARGV[3]) end
return ARGV[1]"
);

/// KEYS lease · ARGV token and stamp, ms, stamp. A lease that was taken on another server (before a fail-over, or before a
/// restart) is free: its holder could not fill the entry any more, and may have given it back where this one did not hear.
pub(super) const ACQUIRE: &str = concat!(
    marks!(),
    "\
local v=redis.pcall('GET',KEYS[1])
if marked(v) then if till(v)>now() then return false end
elseif type(v)=='string' and v:sub(-8)==ARGV[3] then return false end
return redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2])"
);

/// KEYS lease · ARGV token and stamp, ms
pub(super) const STEAL: &str = concat!(
    marks!(),
    "\
local v=redis.pcall('GET',KEYS[1])
if marked(v) and till(v)>now() then return false end
return redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2])"
);

/// KEYS cell or lease · ARGV writer, ms or nothing to remove its mark. Marks that are good no more go in passing.
pub(super) const MARK: &str = concat!(
    marks!(),
    "\
local v=redis.pcall('GET',KEYS[1])
local n,kept,last,had=now(),'',0,0
if marked(v) then for i=8,#v,30 do
local till=tonumber(v:sub(i+16,i+29)) or 0
if till>n then
if v:sub(i,i+15)==ARGV[1] then had=1 else kept=kept..v:sub(i,i+29) last=math.max(last,till) end end end end
if ARGV[2]~='' then
local till=n+ARGV[2]
kept=kept..ARGV[1]..string.format('%014d',till) last=math.max(last,till) end
if kept=='' then if had==1 or ARGV[2]~='' then redis.call('UNLINK',KEYS[1]) end
else redis.call('SET',KEYS[1],'\\1fence:'..kept,'PX',last-n) end
return had"
);

/// A function of the scripts that follow it: whether a name is marked. Of a value that may be large only the front is read.
/// Where the user may not do that, the script fails, rather than take a mark for something else.
macro_rules! is_marked {
    () => {
        "\
local function is_marked(k) local v=redis.pcall('GETRANGE',k,0,6)
if type(v)=='table' and v.err then
if v.err:sub(1,9)=='WRONGTYPE' then return false end
error(v) end
return v=='\\1fence:' end
"
    };
}

/// KEYS names. Marks stay.
pub(super) const DROP: &str = concat!(
    is_marked!(),
    "\
local n=0
for i=1,#KEYS do if not is_marked(KEYS[i]) then n=n+redis.call('UNLINK',KEYS[i]) end end
return n"
);

/// KEYS name · ARGV ms. See ENSURE.
pub(super) const EXTEND: &str = "\
local t=redis.call('PTTL',KEYS[1])
if t>=0 and t<tonumber(ARGV[1]) then redis.call('PEXPIRE',KEYS[1],2*ARGV[1]) end
return 1";

/// KEYS lease · ARGV token and stamp, ms
pub(super) const RENEW: &str = "\
if redis.pcall('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) end
return 0";

/// KEYS lease · ARGV token. Whoever holds it gives it back whatever the server has become meanwhile.
pub(super) const RELEASE: &str = "\
local n=0
local v=redis.pcall('GET',KEYS[1])
if type(v)=='string' and #v==24 and v:sub(1,16)==ARGV[1] then n=redis.call('UNLINK',KEYS[1]) end
redis.call('PUBLISH',KEYS[1],'')
return n";

/// KEYS entry, side, lease · ARGV token and stamp, what the entry becomes, what the side becomes (nothing: dropped), ms or
/// nothing for ever, `1` to drop where the lease is lost
pub(super) const FILL: &str = "\
local n=0
if redis.pcall('GET',KEYS[3])==ARGV[1] then n=1
local function put(k,v) if ARGV[4]=='' then redis.call('SET',k,v) else redis.call('SET',k,v,'PX',ARGV[4]) end end
put(KEYS[1],ARGV[2])
if ARGV[3]=='' then redis.call('UNLINK',KEYS[2]) else put(KEYS[2],ARGV[3]) end
redis.call('UNLINK',KEYS[3])
elseif ARGV[5]=='1' then redis.call('UNLINK',KEYS[1],KEYS[2]) end
redis.call('PUBLISH',KEYS[3],'')
return n";

/// KEYS entry, side, lease, and the name that is compared, if one is · ARGV stamp, what must be there (nothing: it must be
/// missing, and so must the side), `set` or `drop`, what the entry becomes, what the side becomes, `keep` or ms or nothing
/// for ever, `1` to drop the lease, what must lie under the entry as it is (nothing: anything)
pub(super) const REPLACE: &str = concat!(
    is_marked!(),
    "\
local function at(k) local v=redis.pcall('GET',k)
if type(v)~='string' or v:sub(-8)~=ARGV[1] then v='' end
return v end
if KEYS[4] and (at(KEYS[4])~=ARGV[2] or ARGV[2]=='' and at(KEYS[2])~='') then return 0 end
if ARGV[8]~='' and redis.pcall('GET',KEYS[1])~=ARGV[8] then return 0 end
if ARGV[3]=='drop' then redis.call('UNLINK',KEYS[1],KEYS[2]) else
local t=ARGV[6]
if t=='keep' then t=redis.call('PTTL',KEYS[1])
if t==-2 then t=redis.call('PTTL',KEYS[2]) end
if t==-2 then return 0 end
if t==-1 then t='' else t=math.max(t,1) end end
local function put(k,v) if t=='' then redis.call('SET',k,v) else redis.call('SET',k,v,'PX',t) end end
put(KEYS[1],ARGV[4])
if ARGV[5]=='' then redis.call('UNLINK',KEYS[2]) else put(KEYS[2],ARGV[5]) end end
if ARGV[7]=='1' and not is_marked(KEYS[3]) then redis.call('UNLINK',KEYS[3]) end
return 1"
);

/// KEYS entry, side · ARGV envelope and stamp, how much. The sum is a text: a number of Lua is exact to 53 bits only.
pub(super) const COUNT: &str = "\
if redis.pcall('GET',KEYS[2])~=ARGV[1] then return false end
redis.call('INCRBY',KEYS[1],ARGV[2])
return redis.call('GET',KEYS[1])";

/// KEYS cell · ARGV nonce and stamp that must be there, nonce and stamp that it becomes, ms or nothing for ever
pub(super) const SWAP: &str = "\
local v=redis.pcall('GET',KEYS[1])
if v~=ARGV[1] then
if type(v)~='string' or v:sub(1,7)~='\\1fence:' then redis.call('UNLINK',KEYS[1]) end
return 0 end
redis.call('SET',KEYS[1],ARGV[2],'KEEPTTL')
if ARGV[3]=='' then redis.call('PERSIST',KEYS[1]) else redis.call('PEXPIRE',KEYS[1],ARGV[3],'GT') end
return 1";

/// KEYS name. PERSIST alone does not tell a name that lives for ever from one that is not there.
pub(super) const PERSIST: &str = "\
redis.call('PERSIST',KEYS[1])
return redis.call('EXISTS',KEYS[1])";
