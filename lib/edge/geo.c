/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "geo.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	LOOK_MS = 1000,
	COPY_SIZE = 1 << 16,
	PROBE_NODES = 4096, /* of the search tree: one of its first networks has a record */
	PROBE_DEPTH = 256,
	MAX_MIB = 1024,
	SECONDS_A_DAY = 86400,
};

/* What tells one file from the next of the same name. */
struct identity {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec written, changed;
};

struct database {
	const char *path; /* NULL: not needed */
	MMDB_s mmdb;
	bool open;
	bool seen; /* `identity` is the file that is open, or that proved useless */
	struct identity identity;
	enum geo_state state, told;
	int64_t built;
	struct error error;
	char told_what[sizeof(((struct error *)NULL)->what)];
};

struct geo {
	struct database databases[GEO_KIND_COUNT];
	int64_t max_age;
	int64_t looked_ms; /* -1: never */
};

/* --- Reading a file --- */

static struct identity identify(const struct stat *status)
{
	return (struct identity){.device = status->st_dev,
		.inode = status->st_ino,
		.size = status->st_size,
		.written = status->st_mtim,
		.changed = status->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_file(const struct identity *a, const struct identity *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       same_time(&a->written, &b->written) && same_time(&a->changed, &b->changed);
}

static int refuse(struct error *error, int code, const char *what, const char *path)
{
	const char *next = "get it anew (geoipupdate does), and replace the file by a rename";

	if (code == -EACCES || code == -EPERM)
		next = "let sipfence's user read it and enter its folder; a daemon that was "
		       "started before the folder stood in the config must be restarted";
	return error_set(error, code, next, "%s %s", path, what);
}

static int open_file(const char *path, struct stat *ret_status, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && errno == ENOENT)
		return refuse(error, -ENOENT, "is not there", path);
	if (fd < 0 || fstat(fd, ret_status) < 0) {
		int code = -errno;

		if (fd >= 0)
			close(fd);
		refuse(error, code, strerror(-code), path);
		return code;
	}
	if (S_ISREG(ret_status->st_mode) && !(ret_status->st_mode & S_IWOTH))
		return fd;
	close(fd);
	if (!S_ISREG(ret_status->st_mode))
		return refuse(error, -EINVAL, "is not a regular file", path);
	return error_set(error, -EPERM, "take that right away: chmod o-w, and get the file anew",
		"%s may be written by everybody, so it proves nothing", path);
}

static int copy_bytes(int from, int to, off_t *ret_length)
{
	char *buffer = malloc(COPY_SIZE);
	off_t length = 0;
	ssize_t got = -1;

	if (!buffer)
		return -ENOMEM;
	for (;;) {
		got = read(from, buffer, COPY_SIZE);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		for (ssize_t done = 0, put; done < got; done += put) {
			put = write(to, buffer + done, (size_t)(got - done));
			if (put < 0 && errno == EINTR)
				put = 0;
			if (put < 0) {
				got = -1;
				goto out;
			}
		}
		length += got;
	}
	*ret_length = length;
out:
	got = got < 0 ? -errno : 0;
	free(buffer);
	return (int)got;
}

/* Memory that is the file, and can't be cut or changed. */
static int copy_file(const char *path, int *ret_fd, struct error *error)
{
	struct stat before, after;
	struct identity first, last;
	off_t length = 0;
	int result, copy, fd = open_file(path, &before, error);

	if (fd < 0)
		return fd;
	if (before.st_size > (off_t)MAX_MIB << 20) {
		close(fd);
		return error_set(error, -EFBIG, "use a database of countries or networks alone",
			"%s is larger than %d MiB", path, MAX_MIB);
	}
	copy = memfd_create("sipfence-geoip", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	result = copy < 0 ? -errno : copy_bytes(fd, copy, &length);
	if (result == 0 && fstat(fd, &after) < 0)
		result = -errno;
	close(fd);
	if (result == 0) {
		first = identify(&before);
		last = identify(&after);
		if (length != before.st_size || !same_file(&first, &last))
			result = -EAGAIN;
		else if (fcntl(copy, F_ADD_SEALS,
				 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
			result = -errno;
	}
	if (result == 0) {
		*ret_fd = copy;
		return 0;
	}
	if (copy >= 0)
		close(copy);
	if (result == -EAGAIN)
		return refuse(error, result, "is being written at this moment", path);
	return error_set(error, result, "see that there is memory for a copy of the file",
		"cannot read %s: %s", path, strerror(-result));
}

/* --- What a database says --- */

static int find_value(MMDB_entry_s *entry, enum geo_kind kind, MMDB_entry_data_s *ret_data)
{
	/* Where it is, not where it is registered. */
	static const char *const country[] = {"country", "iso_code", NULL},
				 *const asn[] = {"autonomous_system_number", NULL};
	int result = MMDB_aget_value(entry, ret_data, kind == GEO_COUNTRY ? country : asn);

	if (result == MMDB_LOOKUP_PATH_DOES_NOT_MATCH_DATA_ERROR)
		ret_data->has_data = false;
	else if (result != MMDB_SUCCESS)
		return -EBADMSG;
	return 0;
}

static void take_country(const MMDB_entry_data_s *data, struct origin *origin)
{
	if (data->has_data && data->type == MMDB_DATA_TYPE_UTF8_STRING &&
		data->data_size == COUNTRY_SIZE - 1)
		memcpy(origin->country, data->utf8_string, COUNTRY_SIZE - 1);
}

static void take_asn(const MMDB_entry_data_s *data, struct origin *origin)
{
	if (data->has_data && data->type == MMDB_DATA_TYPE_UINT32)
		origin->asn = data->uint32;
	else if (data->has_data && data->type == MMDB_DATA_TYPE_UINT16)
		origin->asn = data->uint16;
}

static bool take_value(
	MMDB_entry_s *entry, enum geo_kind kind, struct origin *origin, bool *ret_any)
{
	MMDB_entry_data_s data = {.has_data = false};

	if (find_value(entry, kind, &data) < 0)
		return false;
	if (kind == GEO_COUNTRY)
		take_country(&data, origin);
	else
		take_asn(&data, origin);
	*ret_any = origin->country[0] || origin->asn;
	return true;
}

/* Has any of the first networks what the database is asked for? Vendors name their types as they
 * like; a database of another type has none. */
static bool probe(const MMDB_s *mmdb, enum geo_kind kind)
{
	uint32_t open[PROBE_DEPTH] = {0};
	size_t depth = 1;

	for (int visited = 0; depth > 0 && visited < PROBE_NODES; visited++) {
		MMDB_search_node_s node;

		if (MMDB_read_node(mmdb, open[--depth], &node) != MMDB_SUCCESS)
			return false;
		for (int side = 0; side < 2; side++) {
			/* The left one is to be taken first. */
			bool right = side == 0;
			uint8_t type = right ? node.right_record_type : node.left_record_type;
			uint64_t record = right ? node.right_record : node.left_record;
			MMDB_entry_s *entry =
				right ? &node.right_record_entry : &node.left_record_entry;
			struct origin origin = {0};
			bool any = false;

			if (type == MMDB_RECORD_TYPE_SEARCH_NODE && depth < PROBE_DEPTH)
				open[depth++] = (uint32_t)record;
			if (type == MMDB_RECORD_TYPE_DATA &&
				take_value(entry, kind, &origin, &any) && any)
				return true;
		}
	}
	return false;
}

/* --- Files that come and go --- */

static void close_database(struct database *database)
{
	if (database->open)
		MMDB_close(&database->mmdb);
	database->open = false;
	database->built = 0;
}

static int open_copy(struct database *database, enum geo_kind kind, int copy, struct error *error)
{
	char path[sizeof("/proc/self/fd/2147483647")];
	int result;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
	result = MMDB_open(path, MMDB_MODE_MMAP, &database->mmdb);
	if (result == MMDB_OUT_OF_MEMORY_ERROR)
		return error_no_memory(error);
	if (result == MMDB_FILE_OPEN_ERROR)
		return error_set(error, -EACCES, "see that /proc is mounted",
			"the copy of %s in memory cannot be opened", database->path);
	if (result != MMDB_SUCCESS) {
		error_set(error, -EBADMSG, "get it anew (geoipupdate does)",
			"%s is damaged, or no database of MaxMind's format: %s", database->path,
			MMDB_strerror(result));
		return -EBADMSG;
	}
	database->open = true;
	database->built = (int64_t)database->mmdb.metadata.build_epoch;
	if (probe(&database->mmdb, kind))
		return 0;
	error_set(error, -EBADMSG,
		kind == GEO_COUNTRY ? "give `geoip: {country: FILE}` a database of countries"
				    : "give `geoip: {asn: FILE}` a database of autonomous systems",
		"%s knows no %s of any address; its type is %.64s", database->path,
		kind == GEO_COUNTRY ? "country" : "autonomous system",
		database->mmdb.metadata.database_type);
	close_database(database);
	return -EBADMSG;
}

/* May another attempt with the same file go better? */
static bool may_pass(int code)
{
	switch (code) {
	case -EAGAIN:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -EIO:
	case -EINTR:
		return true;
	default:
		return false;
	}
}

static void read_database(struct database *database, enum geo_kind kind)
{
	struct error error = {0};
	int copy = -1, result;

	close_database(database);
	result = copy_file(database->path, &copy, &error);
	if (result == 0)
		result = open_copy(database, kind, copy, &error);
	if (copy >= 0)
		close(copy);
	database->seen = !may_pass(result);
	database->error = error;
	database->state = result == 0 ? GEO_FOUND : GEO_MISSING;
}

/* A whole number of days: nobody counts the seconds of such an age. */
static void judge_age(struct database *database, int64_t max_age)
{
	int64_t age = clock_wall() - database->built;
	const char *next = "update it (geoipupdate and its timer do), or set a longer "
			   "`geoip: {max-age: TIME}`";

	database->error = (struct error){0};
	database->state = age > max_age		  ? GEO_STALE
			  : age > max_age / 3 * 2 ? GEO_AGEING
						  : GEO_FOUND;
	if (database->state == GEO_STALE)
		error_set(&database->error, -ESTALE, next,
			"%s was built %lld days ago, longer than `geoip: {max-age: TIME}` allows",
			database->path, (long long)(age / SECONDS_A_DAY));
	else if (database->state == GEO_AGEING)
		error_set(&database->error, -ESTALE, next,
			"%s was built %lld days ago; it counts for %lld more", database->path,
			(long long)(age / SECONDS_A_DAY),
			(long long)((max_age - age) / SECONDS_A_DAY));
}

static void look_at(struct geo *geo, struct database *database, enum geo_kind kind)
{
	struct stat status;
	struct identity now;

	if (stat(database->path, &status) < 0) {
		struct error error = {0};

		refuse(&error, -errno, errno == ENOENT ? "is not there" : strerror(errno),
			database->path);
		close_database(database);
		database->seen = false;
		database->state = GEO_MISSING;
		database->error = error;
		return;
	}
	now = identify(&status);
	if (!database->seen || !same_file(&database->identity, &now)) {
		database->identity = now;
		read_database(database, kind);
	}
	if (database->open)
		judge_age(database, geo->max_age);
}

void geo_look(struct geo *geo)
{
	int64_t now_ms = clock_boot_ms();

	if (!geo || (geo->looked_ms >= 0 && now_ms - geo->looked_ms < LOOK_MS))
		return;
	geo->looked_ms = now_ms;
	for (int kind = 0; kind < GEO_KIND_COUNT; kind++)
		if (geo->databases[kind].path)
			look_at(geo, &geo->databases[kind], (enum geo_kind)kind);
}

/* --- Looking up --- */

static socklen_t to_sockaddr(const struct addr *addr, struct sockaddr_storage *storage)
{
	struct sockaddr_in *four = (struct sockaddr_in *)storage;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)storage;

	memset(storage, 0, sizeof(*storage));
	if (addr->family == FAMILY_IPV4) {
		four->sin_family = AF_INET;
		memcpy(&four->sin_addr, addr->bytes, sizeof(four->sin_addr));
		return sizeof(*four);
	}
	six->sin6_family = AF_INET6;
	memcpy(&six->sin6_addr, addr->bytes, sizeof(six->sin6_addr));
	return sizeof(*six);
}

static void note_damage(struct database *database)
{
	close_database(database);
	database->state = GEO_MISSING;
	database->error = (struct error){0};
	error_set(&database->error, -EBADMSG, "get it anew (geoipupdate does)", "%s is damaged",
		database->path);
}

/* False: it can't be known. An address of which the database knows nothing is of none. */
static bool look_up(struct database *database, enum geo_kind kind, const struct addr *addr,
	struct origin *origin)
{
	struct sockaddr_storage storage;
	MMDB_lookup_result_s found;
	int error = MMDB_SUCCESS;
	bool any;

	if (!database->open || database->state == GEO_STALE)
		return false;
	to_sockaddr(addr, &storage);
	found = MMDB_lookup_sockaddr(&database->mmdb, (struct sockaddr *)&storage, &error);
	if (error == MMDB_IPV6_LOOKUP_IN_IPV4_DATABASE_ERROR)
		return true;
	if (error == MMDB_SUCCESS && !found.found_entry)
		return true;
	if (error == MMDB_SUCCESS && take_value(&found.entry, kind, origin, &any))
		return true;
	note_damage(database);
	return false;
}

void geo_origin(void *context, const struct addr *addr, struct origin *ret_origin)
{
	struct geo *geo = context;
	struct origin origin = {0};

	geo_look(geo);
	if (look_up(&geo->databases[GEO_COUNTRY], GEO_COUNTRY, addr, &origin))
		origin.known |= ORIGIN_COUNTRY;
	if (look_up(&geo->databases[GEO_ASN], GEO_ASN, addr, &origin))
		origin.known |= ORIGIN_ASN;
	*ret_origin = origin;
}

/* --- The public face --- */

int geo_open(const struct config *config, struct geo **ret_geo)
{
	struct geo *geo = calloc(1, sizeof(*geo));
	bool country = false, asn = false;

	if (!geo)
		return -ENOMEM;
	for (size_t i = 0; i < config->guard_count; i++) {
		country |= config->guards[i].country_count > 0;
		asn |= config->guards[i].asn_count > 0;
	}
	geo->looked_ms = -1;
	geo->max_age = config->geoip.max_age;
	geo->databases[GEO_COUNTRY].path = country ? config->geoip.country : NULL;
	geo->databases[GEO_ASN].path = asn ? config->geoip.asn : NULL;
	for (int kind = 0; kind < GEO_KIND_COUNT; kind++)
		geo->databases[kind].told = GEO_FOUND;
	if (!geo->databases[GEO_COUNTRY].path && !geo->databases[GEO_ASN].path)
		geo = geo_free(geo);
	*ret_geo = geo;
	return 0;
}

struct geo *geo_free(struct geo *geo)
{
	for (int kind = 0; geo && kind < GEO_KIND_COUNT; kind++)
		close_database(&geo->databases[kind]);
	free(geo);
	return NULL;
}

struct geo_database geo_database(const struct geo *geo, enum geo_kind kind)
{
	const struct database *database = geo ? &geo->databases[kind] : NULL;

	if (!database || !database->path)
		return (struct geo_database){.state = GEO_UNUSED};
	return (struct geo_database){.path = database->path,
		.state = database->state,
		.built = database->built,
		.error = database->error};
}

bool geo_news(struct geo *geo, enum geo_kind *ret_kind)
{
	for (int kind = 0; geo && geo->looked_ms >= 0 && kind < GEO_KIND_COUNT; kind++) {
		struct database *database = &geo->databases[kind];
		const char *what = database->state == GEO_MISSING ? database->error.what : "";

		if (!database->path || (database->state == database->told &&
					       strcmp(what, database->told_what) == 0))
			continue;
		database->told = database->state;
		snprintf(database->told_what, sizeof(database->told_what), "%s", what);
		*ret_kind = (enum geo_kind)kind;
		return true;
	}
	return false;
}
