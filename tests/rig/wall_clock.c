/* Preloaded into a process: its wall clock, and that alone, is off by what a file says.

The file (TOCSIN_WALL_CLOCK) holds the nanoseconds to add, as eight bytes. It is mapped, so that the
clock jumps as the machine's would: at once, for every thread, and between two readings. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#define SECOND 1000000000LL

static const volatile long long none, *off = &none;
static int (*get)(clockid_t, struct timespec *);
static int (*wait_until)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TOCSIN_WALL_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void *found = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *off, PROT_READ, MAP_SHARED, file, 0);
    get = dlsym(RTLD_NEXT, "clock_gettime");
    wait_until = dlsym(RTLD_NEXT, "sem_timedwait");
    if (found == MAP_FAILED)
        abort();
    off = found;
}

static void shift(struct timespec *at, long long by)
{
    long long all = at->tv_sec * SECOND + at->tv_nsec + by;
    at->tv_sec = all / SECOND;
    at->tv_nsec = all % SECOND;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (get == NULL) /* before `begin`: of a library that was loaded earlier */
        get = dlsym(RTLD_NEXT, "clock_gettime");
    int code = get(clock, now);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        shift(now, *off);
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now != NULL)
        *now = found.tv_sec;
    return found.tv_sec;
}

/* How a Python for old versions of glibc waits for locks: until a time of the wall clock. */
int sem_timedwait(sem_t *restrict lock, const struct timespec *restrict until)
{
    struct timespec real = *until;
    shift(&real, -*off);
    return wait_until(lock, &real);
}
