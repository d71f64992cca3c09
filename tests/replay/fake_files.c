/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the engine needs of files.h, on a disk in memory. */
#include "files.h"
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_file *fake_disk_find(const char *path)
{
	struct fake_disk *disk = &world()->disk;

	for (size_t i = 0; i < disk->count; i++) {
		if (strcmp(disk->files[i].path, path) == 0)
			return &disk->files[i];
	}
	return NULL;
}

void fake_disk_write(const char *path, const void *data, size_t length)
{
	struct fake_disk *disk = &world()->disk;
	struct fake_file *file = fake_disk_find(path);

	if (!file) {
		disk->files =
			need(reallocarray(disk->files, disk->count + 1, sizeof(*disk->files)));
		file = &disk->files[disk->count++];
		*file = (struct fake_file){.path = need(strdup(path))};
	}
	text_clear(&file->data);
	text_write(&file->data, data, length);
	file->synced = length;
}

void fake_disk_delete(const char *path)
{
	struct fake_disk *disk = &world()->disk;
	struct fake_file *file = fake_disk_find(path);

	if (!file)
		return;
	free(file->path);
	text_free(&file->data);
	*file = disk->files[--disk->count];
}

void fake_disk_power_cut(void)
{
	struct fake_disk *disk = &world()->disk;

	for (size_t i = disk->count; i-- > 0;) {
		struct fake_file *file = &disk->files[i];

		file->data.length = file->synced;
		if (file->synced == 0)
			fake_disk_delete(file->path);
	}
}

int file_load(const char *path, struct text *text, struct error *error)
{
	struct fake_file *file = fake_disk_find(path);
	int number = world()->disk.read_errno;

	if (!file)
		return FILE_MISSING;
	if (number)
		return error_set(error, -number, "", "cannot read %s: %s", path, strerror(number));
	text_write(text, text_string(&file->data), file->data.length);
	return 0;
}

int file_load_end(
	const char *path, size_t most, struct text *text, size_t *ret_size, struct error *error)
{
	struct text whole = {0};
	int result = file_load(path, &whole, error);

	if (result == 0) {
		size_t length = whole.length < most ? whole.length : most;

		text_write(text, text_string(&whole) + whole.length - length, length);
		*ret_size = whole.length;
	}
	text_free(&whole);
	return result;
}

int file_save(const char *path, const void *data, size_t length, struct error *error)
{
	struct fake_disk *disk = &world()->disk;
	int number = disk->write_errno;

	if (number) {
		disk->failed_saves++;
		return error_set(error, -number, "see that the disk has room and works (df, dmesg)",
			"cannot write %s: %s", path, strerror(number));
	}
	disk->saves++;
	fake_disk_write(path, data, length);
	return 0;
}

int file_append(const char *path, const void *data, size_t length, struct error *error)
{
	struct fake_disk *disk = &world()->disk;
	struct fake_file *file = fake_disk_find(path);
	int number = disk->write_errno;

	if (number)
		return error_set(
			error, -number, "", "cannot add to %s: %s", path, strerror(number));
	if (!file) {
		fake_disk_write(path, "", 0);
		file = fake_disk_find(path);
	}
	text_write(&file->data, data, length);
	return 0;
}

int file_remove(const char *path, struct error *error)
{
	int number = world()->disk.write_errno == EROFS ? EROFS : 0;

	if (number && fake_disk_find(path))
		return error_set(
			error, -number, "", "cannot remove %s: %s", path, strerror(number));
	fake_disk_delete(path);
	return 0;
}

int file_move(const char *from, const char *to, struct error *error)
{
	struct fake_file *file = fake_disk_find(from);
	int number = world()->disk.write_errno == EROFS ? EROFS : 0;

	if (!file)
		return FILE_MISSING;
	if (number)
		return error_set(
			error, -number, "", "cannot rename %s: %s", from, strerror(number));
	fake_disk_delete(to);
	file = fake_disk_find(from); /* deleting has moved it */
	free(file->path);
	file->path = need(strdup(to));
	return 0;
}

int file_set_aside(const char *path, char **ret_name, struct error *error)
{
	struct fake_file *file = fake_disk_find(path);
	int number = !file ? ENOENT : world()->disk.write_errno == EROFS ? EROFS : 0;
	char *name;

	if (number)
		return error_set(
			error, -number, "", "cannot set %s aside: %s", path, strerror(number));
	if (asprintf(&name, "%s.damaged", path) < 0)
		return error_no_memory(error);
	fake_disk_delete(name);
	file = fake_disk_find(path); /* deleting has moved it */
	free(file->path);
	file->path = need(strdup(name));
	*ret_name = name;
	return 0;
}
