/* Reads of 4,096 bytes from BAD_START of the file BAD_FILE fail with EIO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_bad(int fd, off_t offset, size_t count)
{
	const char *file = getenv("BAD_FILE"), *start = getenv("BAD_START");
	struct stat bad, here;

	if (!file || !start || stat(file, &bad) || fstat(fd, &here))
		return 0;
	off_t first = atoll(start);
	return bad.st_ino == here.st_ino && bad.st_dev == here.st_dev &&
	       offset < first + 4096 && first < offset + (off_t)count;
}

ssize_t pread64(int fd, void *buffer, size_t count, off_t offset)
{
	ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread64");

	if (!is_bad(fd, offset, count))
		return real(fd, buffer, count, offset);
	errno = EIO;
	return -1;
}

ssize_t pread(int fd, void *buffer, size_t count, off_t offset)
{
	return pread64(fd, buffer, count, offset);
}

ssize_t read(int fd, void *buffer, size_t count)
{
	ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
	int saved = errno;
	off_t offset = lseek(fd, 0, SEEK_CUR);

	errno = saved;
	if (offset < 0 || !is_bad(fd, offset, count))
		return real(fd, buffer, count);
	errno = EIO;
	return -1;
}
