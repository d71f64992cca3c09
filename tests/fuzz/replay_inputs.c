/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Feeds files to a fuzz target: the same check without a fuzzer, for any compiler.
 *
 *     test_fuzz_TARGET                 all files of corpus/TARGET and regressions/TARGET
 *     test_fuzz_TARGET FILE…           these
 *
 * The files of a folder go through one child process; when it dies, the file is named, and another
 * child goes on behind it. Counts as cmocka does: a folder is a test.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_MAX = 16 * 1024 * 1024, FOLDER_SIZE = 4096, PATH_SIZE = 8192 };

static bool feed(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	size_t size;

	if (file)
		data = malloc(FILE_MAX);
	if (!data) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		if (file)
			fclose(file);
		return false;
	}
	size = fread(data, 1, FILE_MAX, file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return true;
}

/* In a child, from `first` on; `at` says how far it came. */
static int feed_some(const char *folder, struct dirent **files, int first, int count, int *at)
{
	char path[PATH_SIZE];

	for (*at = first; *at < count; (*at)++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[*at]->d_name);
		if (!feed(path))
			return 1;
	}
	return 0;
}

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The number of inputs that were fatal; negative: there is no such folder. */
static int feed_folder(const char *folder, int *ret_count)
{
	struct dirent **files = NULL;
	int count = scandir(folder, &files, is_input, alphasort), failed = 0, first = 0;
	int *at =
		mmap(NULL, sizeof(*at), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*ret_count = count;
	if (count < 0 || at == MAP_FAILED)
		return -1;
	while (first < count) {
		int status = 0;
		pid_t child;

		fflush(NULL);
		child = fork();
		if (child == 0)
			exit(feed_some(folder, files, first, count, at));
		if (child < 0 || waitpid(child, &status, 0) != child) {
			failed++;
			break;
		}
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			break;
		/* Leaks are found at the end only, when no file is the last one. */
		fprintf(stderr, "%s/%s: this input was fatal\n", folder,
			*at < count ? files[*at]->d_name : "(one of them leaks)");
		failed++;
		first = *at + 1;
	}
	for (int i = 0; i < count; i++)
		free(files[i]);
	free(files);
	munmap(at, sizeof(*at));
	return failed;
}

static bool test_folder(const char *kind, bool required)
{
	char folder[FOLDER_SIZE];
	int count, failed;

	snprintf(folder, sizeof(folder), FUZZ_DIR "/%s/" FUZZ_TARGET, kind);
	failed = feed_folder(folder, &count);
	if (failed < 0 && !required)
		return true;
	if (failed == 0 && count > 0) {
		printf("[       OK ] test_" FUZZ_TARGET "_%s (%d inputs)\n", kind, count);
		return true;
	}
	if (failed <= 0)
		fprintf(stderr, "%s: no inputs\n", folder);
	/* cmocka names a failed test twice. */
	printf("[  FAILED  ] test_" FUZZ_TARGET "_%s\n[  FAILED  ] test_" FUZZ_TARGET "_%s\n", kind,
		kind);
	return false;
}

int main(int argc, char **argv)
{
	bool good = true;

	for (int i = 1; i < argc; i++)
		good &= feed(argv[i]);
	if (argc == 1) {
		good &= test_folder("corpus", true);
		good &= test_folder("regressions", false);
	}
	return good ? 0 : 1;
}
