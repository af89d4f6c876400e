/* The protocol of docs/coherence.md for spin(1): N vCPUs, two pages of guest RAM.
 *
 * Names and order are those of workers/engine/coherence.c and its callers. A step touches shared memory once;
 * two loads, or a load and the locked instruction that it decides about, are one step only where nobody could
 * have made a difference in between. What is a vCPU's own (its translations, its TLB) changes in the step
 * beside it; it is kept in global arrays because a store by one vCPU marks what it makes stale at the others.
 *
 * Built with -D:
 *   N            vCPUs, 2 or 3
 *   BLOCKS0..2   how many blocks each of them runs
 *   OPS0..2      what its blocks may be and do: the sum of OP_ numbers
 *   LETTERS      how many letters a mailbox holds
 *   SLEEP        who waits for an answer sleeps on a futex
 *   DEVICE       how many stores a device makes, in the coordinator, which also answers exits
 *   DMA_PAGES    to which pages: the sum of 1 and 2
 *   BREAK_...    a rule of the protocol is left out; tests/model expects that each is found out
 */
#ifndef N
#define N 2
#endif
#ifndef LETTERS
#define LETTERS 1
#endif
#if N < 3
#define BLOCKS2 0
#define OPS2 0
#endif

/* Blocks of code of page 0, of page 1, across both. A vCPU has other code too, which nobody stores to. */
#define OP_RUN_0   1
#define OP_RUN_1   2
#define OP_RUN_X   4
#define OP_STORE_0 8    /* a store of the guest */
#define OP_STORE_1 16
#define OP_MARK_0  32   /* the page walk sets accessed and dirty: a store that lets no later ones through */
#define OP_MARK_1  64
#define OP_EXIT    128  /* an exit to the coordinator in a block, before its store if it has one */
#define OP_HALT    256
#define OP_IPI     512  /* to the next vCPU */
#define OP_ALONE_0 1024 /* a locked store that runs while all others stand still */
#define OP_ALONE_1 2048

#define ALL_OPS (OPS0 | OPS1 | OPS2)
#if ALL_OPS & 768
#define INTERRUPTS
#endif
#if ALL_OPS & 3072
#define ALONE
#endif

#define MAY(op) (((me == 0 -> OPS0 : (me == 1 -> OPS1 : OPS2)) & (op)) != 0)

#define IN_GUEST 0
#define OUTSIDE  1
#define HALTED   2

/* A letter is the sum of what to do and a page. */
#define DROP_CODE    0
#define WATCH_WRITES 2

#define BIT         (1 << me)
#define PAGE(p)     (1 << (p))
#define BLOCKS_OF(p) ((p) == 0 -> 5 : 6) /* with bytes of the page; 1: of page 0, 2: of page 1, 4: of both */

#ifdef DEVICE
#define AGENTS (N + 1)
#else
#define AGENTS N
#endif

#define FREE 0
#define HELD 1
#define LENT 2

/* The VM block. */
byte holders[2], writers[2];
byte lock;
byte exclusive;
byte dma_page;         /* 1 + page of a store that the coordinator has announced */
byte mode[N];
byte head[N], tail[N]; /* modulo twice the mailbox's size, as the real ones are modulo 2^32 */
byte box[N * LETTERS];
bool overflow[N];
bool awaited[N];
bool answered[N];      /* Mailbox.answered has changed since who waits has read it */
bool any[N];           /* inbox.any */
bool wake[N];          /* VcpuArea.wake has changed since its owner has read it */

/* Each vCPU's own. */
bool attention[N];
byte live[N];     /* blocks that its engine would find */
byte writable[N]; /* pages to which its TLB lets stores through */
byte buffer[AGENTS]; /* the store buffer: 1 + page of a store that nobody else sees yet; the coordinator's is empty */
bool asking[N];   /* it waits in an exit for the coordinator's answer */

/* What the properties speak of. */
byte stale[N];    /* of the live blocks: their bytes have changed */
byte reading[N];  /* pages read so far for the block that is being translated */
bool outdated[N]; /* their bytes have changed */
byte dead[N];     /* pages of blocks that were dropped while a block runs: it may still jump to them */
bool deadly[N];   /* their bytes have changed */
bool due[N];      /* who has sent an interrupt has done all that it does for it */
bool alone;       /* a vCPU runs alone */
byte idle;        /* vCPUs that have ended, or sleep until an interrupt */

#define MAIL(v)     (head[v] != tail[v])
#define UNREAD(v)   (MAIL(v) || overflow[v])
#define ANSWERED(v) (mode[v] != IN_GUEST || !UNREAD(v))
#define FULL(v)     ((tail[v] + 2 * LETTERS - head[v]) % (2 * LETTERS) == LETTERS)
#define NEXT(i)     (((i) + 1) % (2 * LETTERS))

#ifdef BREAK_RELOCK
#define HAS_LOCK false
#else
#define HAS_LOCK stepping
#endif

#define ANNOUNCED (1 << N) /* nobody's bit: the lock is to be taken, and nobody to be mailed */

#ifdef BREAK_ANNOUNCEMENT
#define DMA_TO(p) false
#else
#define DMA_TO(p) (dma_page == (p) + 1)
#endif

#ifdef BREAK_LOOK_AGAIN
#define CHECKED_AGAIN break
#else
#define CHECKED_AGAIN skip
#endif
#ifdef BREAK_RECLAIM
#define RECLAIM(word) skip
#else
#define RECLAIM(word) d_step { fence(); word = word | BIT }
#endif

/* Others see a store to page p: what they have translated from it is stale from now on. No store bypasses
 * a holder: who has code of the page is outside, or its mail is not read yet. */
inline visible(p)
{
    other = 0;
    do
    :: other < N ->
        if
        :: other != me ->
            assert((!(live[other] & BLOCKS_OF(p)) && !(reading[other] & PAGE(p))) || mode[other] != IN_GUEST ||
                   UNREAD(other));
            stale[other] = stale[other] | (live[other] & BLOCKS_OF(p));
            outdated[other] = outdated[other] || (reading[other] & PAGE(p));
            deadly[other] = deadly[other] || (dead[other] & PAGE(p))
        :: else
        fi;
        other++
    :: else -> break
    od;
    other = 0
}

/* A part of each locked instruction and each sequentially consistent store. */
inline fence()
{
    if
    :: buffer[me] != 0 -> page = buffer[me] - 1; buffer[me] = 0; visible(page); page = 0
    :: else
    fi
}

/* The translations of pages die. A block that runs may still jump to them. */
inline drop(pages, jumps)
{
    dying = live[me] & ((pages & 1 -> 5 : 0) | (pages & 2 -> 6 : 0));
    if
    :: dying != 0 && jumps -> dead[me] = dead[me] | pages; deadly[me] = deadly[me] || (stale[me] & dying)
    :: else
    fi;
    live[me] = live[me] & ~dying;
    stale[me] = stale[me] & ~dying;
    dying = 0
}

/* kick.c. The handler of the signal has run when this is over. */
inline kick(to)
{
#ifdef INTERRUPTS
    seen = mode[to];
    d_step {
        attention[to] = attention[to] || seen == IN_GUEST;
        wake[to] = wake[to] || seen != OUTSIDE;
        seen = 0
    }
#else
    d_step { attention[to] = attention[to] || mode[to] == IN_GUEST }
#endif
}

inline answer()
{
#ifdef SLEEP
    if
    :: awaited[me] ->
        d_step { fence(); awaited[me] = 0 };
        answered[me] = 1
    :: !awaited[me]
    fi
#else
    skip
#endif
}

inline mail_read()
{
    do
    :: d_step {
           MAIL(me) -> letter = box[me * LETTERS + head[me] % LETTERS];
#ifdef BREAK_ANSWER_FIRST
           fence(); head[me] = NEXT(head[me])
#endif
       };
       d_step {
           fence();
           if
           :: letter < WATCH_WRITES ->
               drop(PAGE(letter), running);
               holders[letter] = holders[letter] & ~BIT
           :: else ->
               letter = letter - WATCH_WRITES;
               writable[me] = writable[me] & ~PAGE(letter);
               writers[letter] = writers[letter] & ~BIT
           fi;
           letter = 0
       };
#ifndef BREAK_ANSWER_FIRST
       d_step { fence(); head[me] = NEXT(head[me]) }
#endif
    :: !MAIL(me) -> break
    od;
    if
    :: overflow[me] ->
        d_step { fence(); drop(3, running); writable[me] = 0; holders[0] = holders[0] & ~BIT };
        writers[0] = writers[0] & ~BIT;
        holders[1] = holders[1] & ~BIT;
        writers[1] = writers[1] & ~BIT;
        overflow[me] = 0
    :: !overflow[me]
    fi;
    answer()
}

/* The spin before the sleep is no more than the first look of the loop, as it may end at any time. */
inline await(v, done)
{
    if
    :: done
    :: !(done) ->
        kick(v);
#ifdef SLEEP
        do
        :: done -> break
        :: !(done) ->
            answered[v] = 0;
            d_step { fence(); awaited[v] = 1 };
#ifndef BREAK_SLEEP
            if
            :: done -> break
            :: !(done) -> answered[v]
            fi
#else
            answered[v]
#endif
        od
#else
        done
#endif
    fi
}

#ifdef BREAK_OVERFLOW
#define NO_ROOM(v) false
#else
#define NO_ROOM(v) FULL(v)
#endif

inline letter_send(v)
{
    if
    :: !(targets & (1 << v))
    :: (targets & (1 << v)) && NO_ROOM(v) -> d_step { fence(); overflow[v] = 1 }
    :: d_step {
           (targets & (1 << v)) && !NO_ROOM(v) ->
           fence();
           assert(!FULL(v));
           box[v * LETTERS + tail[v] % LETTERS] = letter;
           tail[v] = NEXT(tail[v])
       }
    fi
}

inline answer_await(v)
{
    if
    :: !(targets & (1 << v))
    :: targets & (1 << v) -> await(v, ANSWERED(v))
    fi
}

inline mail_post(kind)
{
    letter = kind + claimed;
    letter_send(0);
    letter_send(1);
#if N > 2
    letter_send(2);
#endif
    letter = 0
}

inline mail_await()
{
    answer_await(0);
    answer_await(1)
#if N > 2
    ; answer_await(2)
#endif
}

inline mail_send(word, kind)
{
    mail_post(kind);
#ifndef BREAK_ANSWER
    mail_await();
#endif
    atomic { fence(); word = word & ~targets; targets = 0 }
}

/* A mutex on a futex, of which only is said that one vCPU at a time has it and that a free one is taken. */
inline lock_acquire()
{
    if
    :: HAS_LOCK
    :: d_step { !HAS_LOCK && !lock -> fence(); lock = 1 }
    :: !HAS_LOCK && lock ->
#ifdef BREAK_OUTSIDE
        d_step { !lock -> lock = 1 };
#elif defined(BREAK_TURN)
        do
        :: d_step { !lock -> fence(); lock = 1 }; break
        :: lock -> mode[me] = OUTSIDE; mode[me] = IN_GUEST
        od;
#else
        d_step { fence(); mode[me] = OUTSIDE };
        answer();
        d_step { !lock -> lock = 1 };
        mode[me] = IN_GUEST;
#endif
        mail_read();
#ifdef BREAK_LOCK_ATTENTION
        skip
#else
        attention[me] = 1
#endif
    fi
}

inline lock_release()
{
    if
    :: !HAS_LOCK -> d_step { fence(); lock = 0 }
    :: HAS_LOCK
    fi
}

/* Before the bytes of page `claimed` are read for translation. */
inline code_claim()
{
    do
    :: holders[claimed] & BIT -> break
    :: !(holders[claimed] & BIT) ->
#ifdef BREAK_BARRIER
        targets = writers[claimed] & ~BIT;
#endif
        d_step { fence(); holders[claimed] = holders[claimed] | BIT };
        if
        :: d_step {
               writers[claimed] & BIT ->
               fence();
               writable[me] = writable[me] & ~PAGE(claimed);
               writers[claimed] = writers[claimed] & ~BIT
           }
        :: !(writers[claimed] & BIT)
        fi;
#ifndef BREAK_BARRIER
        targets = writers[claimed] & ~BIT;
#endif
        if
        :: targets != 0 -> break
#ifdef DEVICE
        :: d_step { targets == 0 && DMA_TO(claimed) -> targets = ANNOUNCED }; break
        :: targets == 0 && !DMA_TO(claimed) -> CHECKED_AGAIN
#else
        :: targets == 0 -> CHECKED_AGAIN
#endif
        fi
    od;
    if
    :: targets == 0
    :: targets != 0 ->
        lock_acquire();
        do
        :: true ->
            RECLAIM(holders[claimed]);
            targets = writers[claimed] & ~BIT;
            if
            :: targets == 0 -> break
            :: targets != 0 -> mail_send(writers[claimed], WATCH_WRITES)
            fi
        od;
        lock_release()
    fi
}

/* Before a store to page `claimed`. `own`: we hold code of it ourselves. */
inline write_claim()
{
    do
    :: true ->
#ifdef BREAK_BARRIER
        targets = holders[claimed];
#endif
        if
        :: d_step { !(writers[claimed] & BIT) -> fence(); writers[claimed] = writers[claimed] | BIT }
        :: writers[claimed] & BIT
        fi;
#ifndef BREAK_BARRIER
        targets = holders[claimed];
#endif
        d_step { own = (targets & BIT) != 0; targets = targets & ~BIT };
        if
        :: targets != 0 -> break
        :: targets == 0 ->
#ifdef BREAK_LOOK_AGAIN
            break
#else
            if
            :: writers[claimed] & BIT -> break
            :: !(writers[claimed] & BIT) /* round again: our bit may have been taken away since we set it */
            fi
#endif
        fi
    od;
    if
    :: targets == 0
    :: targets != 0 ->
        lock_acquire();
        do
        :: true ->
            RECLAIM(writers[claimed]);
            targets = holders[claimed] & ~BIT;
            if
            :: targets == 0 -> break
            :: targets != 0 -> mail_send(holders[claimed], DROP_CODE)
            fi
        od;
        lock_release();
        own = (holders[claimed] & BIT) != 0
    fi
}

/* A plain store: others see it now, or not before our next locked instruction. We see it now. */
inline memory_store()
{
    d_step {
        assert(!alone || HAS_LOCK);
        assert(!(live[me] & BLOCKS_OF(at)));
        deadly[me] = deadly[me] || (dead[me] & PAGE(at));
        fence()
    };
    if
    :: d_step { true -> visible(at) }
    :: buffer[me] = at + 1
    fi
}

/* To page `at`, by the guest or (`marks`) by the page walk. */
inline store()
{
    if
    :: !marks && (writable[me] & PAGE(at)) -> memory_store()
    :: marks || !(writable[me] & PAGE(at)) ->
#ifdef BREAK_STORE_FIRST
        memory_store();
#endif
        claimed = at;
        write_claim();
        if
        :: !own
        :: d_step { own && !marks -> drop(PAGE(at), false); marks = 1 } /* MAX_FLIPS: only what it hits */
        :: d_step {
               own ->
               fence();
               drop(PAGE(at), running);
               holders[at] = holders[at] & ~BIT;
               own = 0;
#ifdef BREAK_MARK
               attention[me] = attention[me] || !marks
#else
               attention[me] = 1
#endif
           }
        fi;
        d_step {
            claimed = 0;
            own = 0;
            writable[me] = (marks -> writable[me] : writable[me] | PAGE(at))
        };
#ifndef BREAK_STORE_FIRST
        memory_store()
#endif
    fi;
    d_step { at = 0; marks = 0 }
}

/* `block`, from the bytes as they are now. */
inline translate()
{
    do
    :: true ->
        claimed = (block == 2 -> 1 : 0);
        code_claim();
        if
        :: second -> claimed = 1; code_claim()
        :: !second
        fi;
        if
        :: second && !(holders[0] & BIT) /* waiting for the second page has cost us the first */
#ifdef BREAK_SECOND_PAGE
        :: !second -> break
#else
        :: !second && block == 4 -> second = 1
        :: !second && block != 4 -> break
#endif
        :: second && (holders[0] & BIT) -> break
        fi
    od;
    atomic { second = 0; claimed = 0; reading[me] = (block == 4 -> 1 : block) };
    if
    :: block == 4 -> reading[me] = 3
    :: block != 4
    fi;
    d_step {
        live[me] = live[me] | block;
        stale[me] = (outdated[me] -> stale[me] | block : stale[me] & ~block);
        reading[me] = 0;
        outdated[me] = 0
    }
}

inline enter_guest()
{
#ifdef ALONE
    do
    :: true ->
        d_step { fence(); mode[me] = IN_GUEST };
        seen = exclusive;
        if
        :: seen == 0 || seen == me + 1 -> seen = 0; break
        :: else ->
            mode[me] = OUTSIDE;
            answer();
            exclusive != seen;
            seen = 0
        fi
    od;
#else
    mode[me] = IN_GUEST;
#endif
#ifndef BREAK_ENTRY_MAIL
    mail_read();
#endif
#ifdef BREAK_ENTRY_ATTENTION
    skip
#else
    attention[me] = 1
#endif
}

inline leave_guest(how)
{
    d_step { fence(); mode[me] = how };
    answer()
}

inline attend()
{
    attention[me] = 0;
    if
    :: UNREAD(me) -> mail_read()
    :: !UNREAD(me)
    fi;
#ifdef ALONE
    if
    :: exclusive == 0 || exclusive == me + 1
    :: exclusive != 0 && exclusive != me + 1 -> leave_guest(OUTSIDE); enter_guest()
    fi;
#endif
#ifdef INTERRUPTS
    if
    :: d_step { any[me] -> fence(); any[me] = 0; due[me] = 0 }
    :: !any[me]
    fi
#else
    skip
#endif
}

inline wait_halted()
{
    leave_guest(HALTED);
    do
    :: true ->
        wake[me] = 0;
        if
        :: d_step { any[me] -> fence(); any[me] = 0; due[me] = 0 };
            break
        :: d_step { !any[me] -> idle++ };
            if
            :: d_step { wake[me] -> idle-- }
            :: idle == N && !any[me] -> goto ended /* nobody is left who could wake us */
            fi
        fi
    od;
    enter_guest()
}

inline ipi_send(to)
{
    d_step { fence(); any[to] = 1 };
    kick(to);
    due[to] = any[to]
}

inline exclusive_lend()
{
    if
    :: !HAS_LOCK
#ifdef BREAK_LEND
    :: HAS_LOCK
#else
    :: HAS_LOCK -> d_step { fence(); lock = LENT }
#endif
    fi
}

inline exclusive_take_back()
{
    if
    :: !HAS_LOCK
#if defined(BREAK_LEND)
    :: HAS_LOCK
#elif defined(BREAK_TAKE_BACK)
    :: HAS_LOCK -> lock = HELD
#else
    :: d_step { HAS_LOCK && lock == LENT -> fence(); lock = HELD }
#endif
    fi
}

/* In the middle of a block. */
inline exit_to_coordinator()
{
    leave_guest(OUTSIDE);
#ifdef DEVICE
    exclusive_lend();
    asking[me] = true;
    !asking[me];
    exclusive_take_back();
#endif
    enter_guest()
}

inline alone_await(v)
{
    if
    :: v == me
    :: v != me -> await(v, mode[v] != IN_GUEST)
    fi
}

inline run_alone()
{
    lock_acquire();
    d_step { fence(); exclusive = me + 1 };
    alone_await(0);
    alone_await(1);
#if N > 2
    alone_await(2);
#endif
    /* The block of this one instruction lies in the other page. */
    atomic { alone = 1; stepping = 1; block = 2 - at };
    translate();
#ifdef DEVICE
    if
    :: MAY(OP_EXIT) -> exit_to_coordinator()
    :: true
    fi;
#endif
    store();
    d_step {
        fence();
        live[me] = live[me] & ~block;
        stale[me] = stale[me] & ~block;
        block = 0;
        alone = 0;
        exclusive = 0
    };
    stepping = 0;
    lock_release();
    attention[me] = 1
}

inline start()
{
    assert(!(stale[me] & block));
    assert(!due[me]);
    assert(!alone);
    left--
}

proctype vcpu(byte me, left)
{
    byte other, page, letter, dying, seen, targets, claimed, at, block;
    bool running, own, marks, second, stepping;

    do
    :: left == 0 -> break
    :: else ->
        /* Between two blocks. */
        if
        :: attention[me] -> d_step { dead[me] = 0; deadly[me] = 0 }; attend()
        :: d_step { !attention[me] && dead[me] != 0 -> assert(!deadly[me]); start() } /* a jump to a dead block */
        :: d_step { !attention[me] && MAY(OP_RUN_0) -> block = 1 }
        :: d_step { !attention[me] && MAY(OP_RUN_1) -> block = 2 }
        :: d_step { !attention[me] && MAY(OP_RUN_X) -> block = 4 }
        :: d_step { !attention[me] -> start(); running = 1 }
        fi;
        if
        :: block != 0 ->
            d_step { dead[me] = 0; deadly[me] = 0 };
            if
            :: live[me] & block
            :: !(live[me] & block) -> translate()
            fi;
            if
            :: attention[me] -> block = 0
            :: d_step { !attention[me] -> start(); block = 0 }
            fi
        :: running ->
            if
            :: MAY(OP_EXIT) -> exit_to_coordinator()
            :: true
            fi;
            if
            :: MAY(OP_STORE_0) -> store()
            :: MAY(OP_STORE_1) -> at = 1; store()
            :: MAY(OP_MARK_0) -> marks = 1; store()
            :: MAY(OP_MARK_1) -> d_step { at = 1; marks = 1 }; store()
#ifdef INTERRUPTS
            :: MAY(OP_IPI) -> ipi_send((me + 1) % N)
            :: MAY(OP_HALT) -> running = 0; wait_halted()
#endif
#ifdef ALONE
            :: MAY(OP_ALONE_0) -> running = 0; run_alone()
            :: MAY(OP_ALONE_1) -> d_step { running = 0; at = 1 }; run_alone()
#endif
            :: true
            fi;
            running = 0
        :: else
        fi
    od;
    leave_guest(OUTSIDE);
    atomic { dead[me] = 0; deadly[me] = 0; idle++ };
ended:
    skip
}

#ifdef DEVICE
/* A device's store to page `claimed`. Its wait may be broken off, once, and the store be tried again. */
inline dma_write()
{
    d_step { lock != HELD -> found = lock; lock = HELD };
#ifdef BREAK_DMA_BARRIER
    targets = holders[claimed];
    dma_page = claimed + 1;
#else
    dma_page = claimed + 1;
    targets = holders[claimed];
#endif
    if
    :: targets == 0
    :: targets != 0 ->
        mail_post(DROP_CODE);
        if
        :: !broken_off -> atomic { broken_off = true; failed = true; targets = 0 }
        :: true ->
#ifndef BREAK_DMA_ANSWER
            mail_await();
#endif
            atomic { holders[claimed] = holders[claimed] & ~targets; targets = 0 }
        fi
    fi;
#ifdef BREAK_DMA_STORE
    dma_page = 0;
#endif
    if
    :: failed -> failed = false
    :: d_step {
           !failed ->
           assert(exclusive == 0 || mode[exclusive - 1] != IN_GUEST);
           visible(claimed);
           left--
       }
    fi;
    dma_page = 0;
#ifdef BREAK_GIVE_BACK
    d_step { found = FREE; lock = FREE };
#else
    d_step { lock = found; found = FREE };
#endif
    claimed = 0
}

/* One thread: it answers no exit while it stores. */
proctype coordinator(byte me, left)
{
    byte other, page, letter, targets, claimed, found;
    bool broken_off, failed;

end:
    do
    :: left > 0 && (DMA_PAGES & 1) -> dma_write()
    :: d_step { left > 0 && (DMA_PAGES & 2) -> claimed = 1 }; dma_write()
    :: asking[0] -> asking[0] = false
    :: asking[1] -> asking[1] = false
#if N > 2
    :: asking[2] -> asking[2] = false
#endif
    od
}
#endif

init {
    atomic {
#ifdef DEVICE
        run coordinator(N, DEVICE);
#endif
        run vcpu(0, BLOCKS0);
        run vcpu(1, BLOCKS1);
#if N > 2
        run vcpu(2, BLOCKS2)
#endif
    }
}
