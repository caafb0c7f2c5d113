/* SPDX-License-Identifier: MIT */

/*
 * Making, checking and mapping segments.
 *
 * The layout follows from four capacities, so a header is checked by laying it out again and comparing: whatever else it
 * says is damage. After that check nobody reads the header again; offsets and capacities come from the private copy, which
 * no scribble can reach.
 *
 * A hole is never touched through the mapping, not even to read, because a read fault allocates a page, and is a SIGBUS
 * when the file system is full. So pages are reserved before the word that makes them reachable is written.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/random.h"
#include "shm/segment.h"
#include "shm/words.h"

static uint64_t align_up(uint64_t n, uint64_t to)
{
        return (n + to - 1) / to * to;
}

int segment_config_check(const SegmentConfig *config)
{
        uint64_t spans = config->scratch_bytes / MH_SHM_SPAN_SIZE;

        if (config->n_slots < MH_SHM_SLOTS_MIN || config->n_slots > MH_SHM_SLOTS_MAX ||
            config->n_slots % MH_SHM_CHUNK_SLOTS)
                return -EINVAL;
        if (config->n_clients < MH_SHM_CLIENTS_MIN || config->n_clients > MH_SHM_CLIENTS_MAX)
                return -EINVAL;
        if (!spans || spans > MH_SHM_SPANS_MAX || config->scratch_bytes % MH_SHM_SPAN_SIZE)
                return -EINVAL;
        if (config->first_generation > MH_SHM_GENERATION_MASK)
                return -EINVAL;
        return 0;
}

/* Fills in everything that follows from the capacities. */
static void lay_out(struct mh_shm_header *h)
{
        uint64_t n_chunks = h->n_slots / MH_SHM_CHUNK_SLOTS, at = 0;

        h->n_groups = (h->n_clients + MH_SHM_GROUP_CLIENTS - 1) / MH_SHM_GROUP_CLIENTS;
        h->ledger_slots = sizeof(struct mh_shm_account);
        h->ledger_spans = h->ledger_slots + (uint64_t)h->n_slots * sizeof(uint64_t);
        h->ledger_stride = h->ledger_slots +
                           align_up((uint64_t)h->n_slots * sizeof(uint64_t) + align_up(h->n_spans, 64) / 8,
                                    MH_SHM_LEDGER_UNIT);

        const uint64_t sizes[MH_SHM_REGION_COUNT] = {
                [MH_SHM_REGION_HEADER] = sizeof(struct mh_shm_header),
                [MH_SHM_REGION_SHARED] = sizeof(struct mh_shm_shared),
                [MH_SHM_REGION_CLIENTS] = (uint64_t)h->n_clients * sizeof(struct mh_shm_client),
                [MH_SHM_REGION_HAZARDS] = (uint64_t)h->n_clients * sizeof(struct mh_shm_hazard),
                [MH_SHM_REGION_CHUNKS] = n_chunks * sizeof(struct mh_shm_chunk),
                [MH_SHM_REGION_CHUNKMAP] = align_up(n_chunks, 64) / 8,
                [MH_SHM_REGION_SLOTS] = (uint64_t)h->n_slots * sizeof(struct mh_shm_slot),
                [MH_SHM_REGION_HOLDERS] = (uint64_t)(h->n_groups - 1) * h->n_slots * sizeof(uint64_t),
                [MH_SHM_REGION_LEDGERS] = h->n_clients * h->ledger_stride,
                [MH_SHM_REGION_SPANS] = (uint64_t)h->n_spans * sizeof(struct mh_shm_span),
                [MH_SHM_REGION_SPANMAP] = align_up(h->n_spans, 64) / 8,
                [MH_SHM_REGION_OWNERS] = (uint64_t)h->n_spans * sizeof(struct mh_shm_owners),
                [MH_SHM_REGION_SCRATCH] = (uint64_t)h->n_spans * MH_SHM_SPAN_SIZE,
        };

        for (unsigned i = 0; i < MH_SHM_REGION_COUNT; i++) {
                h->regions[i].offset = at;
                h->regions[i].size = align_up(sizes[i], MH_SHM_REGION_ALIGN);
                at += h->regions[i].size;
        }
        h->total_size = at;
}

static void take_header(Segment *seg, int fd, const struct mh_shm_header *h)
{
        *seg = (Segment){
                .fd = fd,
                .total_size = h->total_size,
                .ledger_stride = h->ledger_stride,
                .ledger_slots = h->ledger_slots,
                .ledger_spans = h->ledger_spans,
                .first_generation = h->first_generation,
                .n_slots = h->n_slots,
                .n_clients = h->n_clients,
                .n_spans = h->n_spans,
                .n_groups = h->n_groups,
                .n_chunks = h->n_slots / MH_SHM_CHUNK_SLOTS,
                .uid = h->uid,
        };
        memcpy(seg->id, h->id, sizeof(seg->id));
        memcpy(seg->regions, h->regions, sizeof(seg->regions));
}

static int write_all(int fd, const void *data, size_t size, uint64_t offset)
{
        for (size_t done = 0; done < size;) {
                ssize_t n = pwrite(fd, (const char *)data + done, size - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                done += (size_t)n;
        }
        return 0;
}

/* A short read is the end of the object. */
static ssize_t read_some(int fd, void *ret, size_t size, uint64_t offset)
{
        size_t done = 0;

        while (done < size) {
                ssize_t n = pread(fd, (char *)ret + done, size - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

/* What has to be there before anybody attaches: the daemon's own entry and account, and the two bitmaps of hints. */
static int reserve_first(const Segment *seg)
{
        const struct {
                enum mh_shm_region_id region;
                uint64_t size;
        } first[] = {
                { MH_SHM_REGION_HEADER, sizeof(struct mh_shm_header) },
                { MH_SHM_REGION_SHARED, sizeof(struct mh_shm_shared) },
                { MH_SHM_REGION_CLIENTS, sizeof(struct mh_shm_client) },
                { MH_SHM_REGION_HAZARDS, sizeof(struct mh_shm_hazard) },
                { MH_SHM_REGION_CHUNKMAP, align_up(seg->n_chunks, 64) / 8 },
                { MH_SHM_REGION_SPANMAP, align_up(seg->n_spans, 64) / 8 },
                { MH_SHM_REGION_LEDGERS, sizeof(struct mh_shm_account) },
        };

        for (unsigned i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
                int r = segment_reserve(seg, first[i].region, 0, first[i].size);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What makes it different from all others. */
static int give_birth(struct mh_shm_header *h)
{
        struct timespec now;
        int r;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        h->created_usec = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
        r = random_bytes(h->id, sizeof(h->id));
        if (r < 0 || h->first_generation)
                return r;
        r = random_u64(&h->first_generation);
        h->first_generation &= MH_SHM_GENERATION_MASK;
        if (!h->first_generation)
                h->first_generation = 1;
        return r;
}

int segment_format(int fd, const SegmentConfig *config)
{
        struct mh_shm_header h = {
                .magic = MH_SHM_MAGIC,
                .version = MH_SHM_VERSION,
                .header_size = sizeof(h),
                .uid = geteuid(),
                .state = MH_SHM_STATE_EMPTY,
                .n_slots = config->n_slots,
                .n_clients = config->n_clients,
                .n_spans = (uint32_t)(config->scratch_bytes / MH_SHM_SPAN_SIZE),
                .first_generation = config->first_generation,
        };
        struct mh_shm_shared shared = {
                .client_hwm = 1,
                .limit_client_handles = config->limit_client_handles,
                .limit_client_scratch = config->limit_client_scratch,
        };
        struct stat st;
        Segment seg;
        int r;

        r = segment_config_check(config);
        if (r >= 0)
                r = give_birth(&h);
        if (r < 0)
                return r;
        lay_out(&h);
        take_header(&seg, fd, &h);
        if (fstat(fd, &st) < 0)
                return -errno;
        seg.device = st.st_dev;
        seg.inode = st.st_ino;

        if (ftruncate(fd, (off_t)h.total_size) < 0)
                return -errno;
        r = reserve_first(&seg);
        if (r < 0)
                return r;
        r = write_all(fd, &shared, sizeof(shared), seg.regions[MH_SHM_REGION_SHARED].offset);
        if (r < 0)
                return r;
        r = write_all(fd, &h, sizeof(h), 0);
        if (r < 0)
                return r;

        h.state = MH_SHM_STATE_READY;
        return write_all(fd, &h.state, sizeof(h.state), offsetof(struct mh_shm_header, state));
}

int segment_version(int fd, uint32_t *ret)
{
        struct mh_shm_header h;
        ssize_t n = read_some(fd, &h, sizeof(h), 0);

        if (n < 0)
                return (int)n;
        if ((size_t)n < sizeof(h) || h.magic != MH_SHM_MAGIC)
                return -EBADMSG;
        *ret = h.version;
        return 0;
}

/* Is what the header says what this version would have written? */
static int check_header(const struct mh_shm_header *h, uint64_t size)
{
        struct mh_shm_header again = *h;
        SegmentConfig config = {
                .n_slots = h->n_slots,
                .n_clients = h->n_clients,
                .scratch_bytes = (uint64_t)h->n_spans * MH_SHM_SPAN_SIZE,
                .first_generation = h->first_generation,
        };

        if (h->header_size != sizeof(*h) || !h->first_generation || segment_config_check(&config) < 0)
                return -EBADMSG;
        lay_out(&again);
        if (memcmp(&again, h, sizeof(again)) != 0 || h->total_size != size)
                return -EBADMSG;
        return 0;
}

int segment_load(Segment *ret, int fd)
{
        struct mh_shm_header h;
        struct statfs fs;
        struct stat st;
        ssize_t n;
        int r;

        if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || fs.f_type != TMPFS_MAGIC)
                return -EPERM;

        n = read_some(fd, &h, sizeof(h), 0);
        if (n < 0)
                return (int)n;
        if (n == 0)
                return -EAGAIN;
        if ((size_t)n < sizeof(h))
                return -EBADMSG;
        if (h.magic == 0 && h.version == 0 && h.state == MH_SHM_STATE_EMPTY)
                return -EAGAIN;
        if (h.magic != MH_SHM_MAGIC)
                return -EBADMSG;
        if (h.version != MH_SHM_VERSION || (h.incompatible_flags & ~MH_SHM_INCOMPATIBLE_KNOWN))
                return -EPROTONOSUPPORT;

        r = check_header(&h, (uint64_t)st.st_size);
        if (r < 0)
                return r;
        switch (h.state) {
        case MH_SHM_STATE_EMPTY:
                return -EAGAIN;
        case MH_SHM_STATE_READY:
                take_header(ret, fd, &h);
                ret->device = st.st_dev;
                ret->inode = st.st_ino;
                return 0;
        case MH_SHM_STATE_CLOSED:
                return -ESTALE;
        default:
                return -EBADMSG;
        }
}

/* ------------------------------------------------------------------------------------------------ mapping */

/* From now on membarrier(2) of any process that does the same orders this one's memory accesses too. */
static bool register_membarrier(void)
{
        return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

static int map_range(const Segment *seg, uint64_t offset, uint64_t size, void **ret)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, seg->fd, (off_t)offset);

        if (p == MAP_FAILED)
                return -errno;
        (void)madvise(p, size, MADV_DONTFORK);
        (void)madvise(p, size, MADV_DONTDUMP);
        *ret = p;
        return 0;
}

/* `base` is where the region at `first` is mapped, together with those up to `last`. */
static void set_pointers(Segment *seg, uint8_t *base, enum mh_shm_region_id first, enum mh_shm_region_id last)
{
        void *at[MH_SHM_REGION_COUNT] = { 0 };

        for (unsigned i = first; i <= (unsigned)last; i++)
                at[i] = base + (seg->regions[i].offset - seg->regions[first].offset);

        if (first == MH_SHM_REGION_HEADER) {
                seg->header = at[MH_SHM_REGION_HEADER];
                seg->shared = at[MH_SHM_REGION_SHARED];
                seg->clients = at[MH_SHM_REGION_CLIENTS];
                seg->hazards = at[MH_SHM_REGION_HAZARDS];
                seg->chunks = at[MH_SHM_REGION_CHUNKS];
                seg->chunkmap = at[MH_SHM_REGION_CHUNKMAP];
                seg->slots = at[MH_SHM_REGION_SLOTS];
                seg->holders = at[MH_SHM_REGION_HOLDERS];
        }
        if (last == MH_SHM_REGION_SCRATCH) {
                seg->spans = at[MH_SHM_REGION_SPANS];
                seg->spanmap = at[MH_SHM_REGION_SPANMAP];
                seg->owners = at[MH_SHM_REGION_OWNERS];
                seg->scratch = at[MH_SHM_REGION_SCRATCH];
        }
}

int segment_map(Segment *seg)
{
        void *p;
        int r = map_range(seg, 0, seg->total_size, &p);

        if (r < 0)
                return r;
        seg->base = p;
        set_pointers(seg, p, MH_SHM_REGION_HEADER, MH_SHM_REGION_SCRATCH);
        seg->asymmetric = register_membarrier();
        return 0;
}

/* Two pieces: what lies before the ledgers, and what lies behind. */
#define FRONT_SIZE(seg)  ((seg)->regions[MH_SHM_REGION_LEDGERS].offset)
#define BACK_OFFSET(seg) ((seg)->regions[MH_SHM_REGION_SPANS].offset)
#define BACK_SIZE(seg)   ((seg)->total_size - BACK_OFFSET(seg))

int segment_map_client(Segment *seg, uint32_t id, void **ret_ledger)
{
        const struct mh_shm_region *clients = &seg->regions[MH_SHM_REGION_CLIENTS];
        void *front, *back, *ledger = NULL;
        int r;

        if (id == MH_SHM_CLIENT_DAEMON || id >= seg->n_clients)
                return -EINVAL;
        r = map_range(seg, 0, FRONT_SIZE(seg), &front);
        if (r < 0)
                return r;
        set_pointers(seg, front, MH_SHM_REGION_HEADER, MH_SHM_REGION_HOLDERS);
        r = map_range(seg, BACK_OFFSET(seg), BACK_SIZE(seg), &back);
        if (r < 0)
                goto fail;
        set_pointers(seg, back, MH_SHM_REGION_SPANS, MH_SHM_REGION_SCRATCH);
        r = map_range(seg, seg->regions[MH_SHM_REGION_LEDGERS].offset + id * seg->ledger_stride, seg->ledger_stride,
                      &ledger);
        if (r < 0)
                goto fail;

        /* What a client has no business to write, it cannot: its accidents stay its own. Relaxed: its flags were written before it
         * was told its number. */
        if (mprotect(front, seg->regions[MH_SHM_REGION_HEADER].size, PROT_READ) < 0 ||
            mprotect((uint8_t *)front + clients->offset, clients->size, PROT_READ) < 0 ||
            (!(load_relaxed(&seg->clients[id].flags) & MH_SHM_CLIENT_LEDGER) &&
             mprotect(ledger, seg->ledger_stride, PROT_READ) < 0)) {
                r = -errno;
                goto fail;
        }

        seg->asymmetric = register_membarrier();
        seg->ledger = ledger;
        seg->ledger_id = id;
        *ret_ledger = ledger;
        return 0;

fail:
        segment_unmap_client(seg, ledger);
        return r;
}

static void forget_pointers(Segment *seg)
{
        seg->base = NULL;
        seg->ledger = NULL;
        seg->header = NULL;
        seg->shared = NULL;
        seg->clients = NULL;
        seg->hazards = NULL;
        seg->chunks = NULL;
        seg->chunkmap = NULL;
        seg->slots = NULL;
        seg->holders = NULL;
        seg->spans = NULL;
        seg->spanmap = NULL;
        seg->owners = NULL;
        seg->scratch = NULL;
}

void segment_unmap(Segment *seg)
{
        if (seg->base)
                (void)munmap(seg->base, seg->total_size);
        forget_pointers(seg);
}

void segment_unmap_client(Segment *seg, void *ledger)
{
        if (ledger)
                (void)munmap(ledger, seg->ledger_stride);
        if (seg->spans)
                (void)munmap(seg->spans, BACK_SIZE(seg));
        if (seg->header)
                (void)munmap(seg->header, FRONT_SIZE(seg));
        forget_pointers(seg);
}

void segment_relax(Segment *seg)
{
        (void)madvise(seg->base, seg->total_size, MADV_DONTNEED);
}

void *segment_ledger(const Segment *seg, uint32_t id)
{
        return seg->base + seg->regions[MH_SHM_REGION_LEDGERS].offset + id * seg->ledger_stride;
}

/* ------------------------------------------------------------------------------------------------ pages */

/* A library cannot know what its program does to descriptors, and punching holes in a stranger's file would be the end. */
static bool is_our_fd(const Segment *seg)
{
        struct stat st;

        return fstat(seg->fd, &st) == 0 && st.st_dev == seg->device && st.st_ino == seg->inode;
}

/* Where this process has that part of the segment, or NULL. */
static void *mapped_at(const Segment *seg, enum mh_shm_region_id region, uint64_t offset)
{
        const struct mh_shm_region *regions = seg->regions;
        uint8_t *start = (uint8_t *)seg->header;

        if (region == MH_SHM_REGION_LEDGERS && !seg->base) {
                uint64_t own = (uint64_t)seg->ledger_id * seg->ledger_stride;

                return seg->ledger && offset >= own && offset < own + seg->ledger_stride
                               ? (uint8_t *)seg->ledger + (offset - own)
                               : NULL;
        }
        if (region >= MH_SHM_REGION_SPANS) {
                start = (uint8_t *)seg->spans;
                return start ? start + (regions[region].offset - regions[MH_SHM_REGION_SPANS].offset) + offset : NULL;
        }
        return start ? start + regions[region].offset + offset : NULL;
}

/*
 * The same without a descriptor, after the program closed ours: the mapping reaches the object as well. (Populating it takes
 * Linux 5.14; an EFAULT stands for the SIGBUS that a touch would have been, which is to say: full.)
 */
static int change_mapped_pages(const Segment *seg, int mode, enum mh_shm_region_id region, uint64_t offset,
                               uint64_t size)
{
        uint8_t *p = mapped_at(seg, region, offset);
        uint64_t slack = (uintptr_t)p % MH_SHM_PAGE;

        if (!p)
                return -EBADFD;
        if (mode & FALLOC_FL_PUNCH_HOLE)
                return madvise(p, size, MADV_REMOVE) < 0 ? -errno : 0;
        if (madvise(p - slack, size + slack, MADV_POPULATE_WRITE) == 0)
                return 0;
        return errno == EINTR ? -EINTR : errno == EFAULT || errno == ENOMEM ? -ENOSPC : -EBADFD;
}

static int change_piece(const Segment *seg, int mode, enum mh_shm_region_id region, uint64_t offset, uint64_t size)
{
        int r;

        if (!is_our_fd(seg))
                return change_mapped_pages(seg, mode, region, offset, size);
        if (fallocate(seg->fd, mode, (off_t)(seg->regions[region].offset + offset), (off_t)size) == 0)
                return 0;
        r = errno == ENOMEM || errno == EDQUOT ? -ENOSPC : -errno;
        /* Another thread may have closed it since we looked. */
        return is_our_fd(seg) ? r : change_mapped_pages(seg, mode, region, offset, size);
}

/*
 * The kernel holds the lock of the whole object while it works on a range, and begins again when a signal comes. So it is
 * told piece by piece: others get on in between, and a timer that fires often does not keep us here for ever.
 */
#define PIECE (UINT64_C(1) << 20)

static int change_pages(const Segment *seg, int mode, enum mh_shm_region_id region, uint64_t offset, uint64_t size)
{
        const struct mh_shm_region *in = &seg->regions[region];
        int saved = errno, cancel, r = 0;

        if (offset > in->size || size > in->size - offset)
                return -EINVAL;
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
        while (r == 0 && size > 0) {
                uint64_t piece = size < PIECE ? size : PIECE;

                r = change_piece(seg, mode, region, offset, piece);
                if (r == 0) {
                        offset += piece;
                        size -= piece;
                } else if (r == -EINTR)
                        r = 0;
        }
        (void)pthread_setcancelstate(cancel, NULL);
        errno = saved;
        return r;
}

int segment_reserve(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, uint64_t size)
{
        return change_pages(seg, FALLOC_FL_KEEP_SIZE, region, offset, size);
}

int segment_punch(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, uint64_t size)
{
        return change_pages(seg, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, region, offset, size);
}

int segment_read(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size)
{
        const struct mh_shm_region *in = &seg->regions[region];
        int saved = errno, cancel;
        ssize_t n;

        if (offset > in->size || size > in->size - offset)
                return -EINVAL;
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
        n = is_our_fd(seg) ? read_some(seg->fd, ret, size, in->offset + offset) : -EBADFD;
        if (n < 0 && !is_our_fd(seg))
                n = -EBADFD; /* closed by another thread since we looked */
        (void)pthread_setcancelstate(cancel, NULL);
        errno = saved;
        if (n < 0)
                return (int)n;
        return (size_t)n < size ? -EBADMSG : 0;
}

int segment_read_mapped(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size)
{
        const struct mh_shm_region *in = &seg->regions[region];
        int saved = errno, r;
        uint64_t slack;
        uint8_t *p;

        if (offset > in->size || size > in->size - offset)
                return -EINVAL;
        p = mapped_at(seg, region, offset);
        if (!p)
                return -EBADFD;
        slack = (uintptr_t)p % MH_SHM_PAGE;
        /* Tells what would be a SIGBUS. As in change_mapped_pages(), this takes Linux 5.14. */
        do
                r = madvise(p - slack, size + slack, MADV_POPULATE_READ);
        while (r < 0 && errno == EINTR);
        errno = saved;
        if (r < 0)
                return -EBADFD;
        memcpy(ret, p, size);
        return 0;
}

int segment_next_data(const Segment *seg, uint64_t from, uint64_t end, uint64_t *ret_start, uint64_t *ret_end)
{
        off_t start, stop;

        if (from >= end)
                return 0;
        start = lseek(seg->fd, (off_t)from, SEEK_DATA);
        if (start < 0)
                return errno == ENXIO ? 0 : -errno;
        if ((uint64_t)start >= end)
                return 0;
        stop = lseek(seg->fd, start, SEEK_HOLE);
        if (stop < 0)
                return -errno;
        *ret_start = (uint64_t)start;
        *ret_end = (uint64_t)stop < end ? (uint64_t)stop : end;
        return 1;
}
