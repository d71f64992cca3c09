/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Databases in a folder of their own, made by tests/system/mmdb.pl. The clock is the test's. */
#include "check.h"

#include "clock.h"
#include "geo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DAY = 86400, NOW = 1700000000 };

/* In the place of lib/edge's. */
static int64_t boot_ms, wall;

int64_t clock_boot_ms(void)
{
	return boot_ms;
}

int64_t clock_wall(void)
{
	return wall;
}

static char folder[] = "/tmp/sipfence-test-XXXXXX", country_path[64], asn_path[64], spare_path[64];

/* The exit code; 77: this machine has no writer. */
static int run_writer(const char *const *arguments)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		execv(MMDB_PL, (char *const *)arguments);
		_exit(77);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static void make(
	const char *path, const char *type, int64_t built, const char *first, const char *second)
{
	char epoch[24];
	const char *arguments[] = {MMDB_PL, path, type, epoch, first, second, NULL};

	snprintf(epoch, sizeof(epoch), "%lld", (long long)built);
	assert_int_equal(run_writer(arguments), 0);
}

static void make_country(int64_t built)
{
	make(country_path, "GeoLite2-Country", built, "203.0.113.0/24=CA", "2001:db8::/32=FR");
}

static void make_asn(int64_t built)
{
	make(asn_path, "GeoLite2-ASN", built, "203.0.113.0/24=AS577", "2001:db8::/32=AS4294967295");
}

static char ca[][COUNTRY_SIZE] = {"CA"};
static uint32_t bell[] = {577};
static struct guard guards[] = {
	{.countries = ca, .country_count = 1}, {.asns = bell, .asn_count = 1}, {0}};

static struct geo *open_geo(const char *country, const char *asn)
{
	struct config config = {.guards = guards, .guard_count = 3};
	struct geo *geo = NULL;

	config.geoip.country = country;
	config.geoip.asn = asn;
	config.geoip.max_age = 90 * DAY;
	assert_int_equal(geo_open(&config, &geo), 0);
	return geo;
}

static struct origin look_up(struct geo *geo, const char *text)
{
	struct origin origin = {.known = 0x55};
	struct addr addr;

	assert_true(addr_parse(text, strlen(text), &addr));
	geo_origin(geo, &addr, &origin);
	return origin;
}

#define assert_origin(geo, address, origin_country, origin_asn, origin_known)                      \
	do {                                                                                       \
		struct origin origin_ = look_up(geo, address);                                     \
		assert_string_equal(origin_.country, origin_country);                              \
		assert_int_equal(origin_.asn, origin_asn);                                         \
		assert_int_equal(origin_.known, origin_known);                                     \
	} while (0)

static void assert_state(
	const struct geo *geo, enum geo_kind kind, enum geo_state state, const char *words)
{
	struct geo_database database = geo_database(geo, kind);

	assert_string_equal(geo_state_name(database.state), geo_state_name(state));
	if (!words)
		assert_int_equal(database.error.code, 0);
	else if (!strstr(database.error.what, words) || !database.error.next[0])
		fail_msg("\"%s\" is not in \"%s\" (%s)", words, database.error.what,
			database.error.next);
}

/* What is new, as "country missing". */
static void assert_news(struct geo *geo, const char *expected)
{
	char text[128] = "";
	enum geo_kind kind;

	while (geo_news(geo, &kind))
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s %s",
			text[0] ? ", " : "", geo_kind_name(kind),
			geo_state_name(geo_database(geo, kind).state));
	assert_string_equal(text, expected);
}

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(country_path, sizeof(country_path), "%s/country.mmdb", folder);
	snprintf(asn_path, sizeof(asn_path), "%s/asn.mmdb", folder);
	snprintf(spare_path, sizeof(spare_path), "%s/spare.mmdb", folder);
	boot_ms = 1000000;
	wall = NOW;
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(country_path);
	unlink(asn_path);
	unlink(spare_path);
	return rmdir(folder);
}

static void test_origins(void **state)
{
	struct geo *geo;

	(void)state;
	make_country(NOW - DAY);
	make_asn(NOW - DAY);
	geo = open_geo(country_path, asn_path);
	assert_origin(geo, "203.0.113.7", "CA", 577, ORIGIN_COUNTRY | ORIGIN_ASN);
	assert_origin(geo, "2001:db8::1", "FR", 4294967295, ORIGIN_COUNTRY | ORIGIN_ASN);
	assert_origin(geo, "198.51.100.1", "", 0, ORIGIN_COUNTRY | ORIGIN_ASN);
	assert_state(geo, GEO_COUNTRY, GEO_FOUND, NULL);
	assert_int_equal(geo_database(geo, GEO_COUNTRY).built, NOW - DAY);
	assert_string_equal(geo_database(geo, GEO_ASN).path, asn_path);
	assert_news(geo, "");
	geo_free(geo);
}

/* Where it is counts, and not where the network is registered. */
static void test_registered_elsewhere(void **state)
{
	struct geo *geo;

	(void)state;
	make(country_path, "GeoLite2-Country", NOW, "203.0.113.0/24=CA",
		"198.51.100.0/24=registered:CA");
	geo = open_geo(country_path, NULL);
	assert_origin(geo, "198.51.100.1", "", 0, ORIGIN_COUNTRY);
	assert_origin(geo, "203.0.113.1", "CA", 0, ORIGIN_COUNTRY);
	geo_free(geo);
}

static void test_ipv4_alone(void **state)
{
	struct geo *geo;

	(void)state;
	make(country_path, "4GeoLite2-Country", NOW, "203.0.113.0/24=CA", "198.51.100.0/24=NL");
	geo = open_geo(country_path, NULL);
	assert_origin(geo, "203.0.113.1", "CA", 0, ORIGIN_COUNTRY);
	assert_origin(geo, "2001:db8::1", "", 0, ORIGIN_COUNTRY);
	assert_state(geo, GEO_COUNTRY, GEO_FOUND, NULL);
	geo_free(geo);
}

static void test_only_what_is_needed(void **state)
{
	struct config config = {.guards = &guards[2], .guard_count = 1};
	struct geo *geo = (struct geo *)1;

	(void)state;
	config.geoip.country = country_path;
	assert_int_equal(geo_open(&config, &geo), 0);
	assert_null(geo);
	geo_look(geo);
	assert_news(geo, "");
	assert_state(geo, GEO_COUNTRY, GEO_UNUSED, NULL);
	assert_null(geo_free(geo));
}

static void test_missing_then_found(void **state)
{
	struct geo *geo = open_geo(country_path, NULL);

	(void)state;
	assert_origin(geo, "203.0.113.7", "", 0, 0);
	assert_state(geo, GEO_COUNTRY, GEO_MISSING, "is not there");
	assert_news(geo, "country missing");
	make_country(NOW);
	/* Within the same second nobody looks. */
	boot_ms += 999;
	assert_origin(geo, "203.0.113.7", "", 0, 0);
	assert_news(geo, "");
	boot_ms += 1;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	assert_news(geo, "country found");
	boot_ms += 1000;
	assert_int_equal(unlink(country_path), 0);
	assert_origin(geo, "203.0.113.7", "", 0, 0);
	assert_news(geo, "country missing");
	geo_free(geo);
}

static void test_replaced_by_a_rename(void **state)
{
	struct geo *geo;

	(void)state;
	make_country(NOW - 2 * DAY);
	geo = open_geo(country_path, NULL);
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	make(spare_path, "GeoLite2-Country", NOW - DAY, "203.0.113.0/24=NL", "2001:db8::/32=FR");
	assert_int_equal(rename(spare_path, country_path), 0);
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "NL", 0, ORIGIN_COUNTRY);
	assert_int_equal(geo_database(geo, GEO_COUNTRY).built, NOW - DAY);
	/* One good database in the place of another is how it should be. */
	assert_news(geo, "");
	geo_free(geo);
}

/* As cp does it. A mapped file that is cut is SIGBUS. */
static void test_cut_in_place(void **state)
{
	struct geo *geo;

	(void)state;
	make_country(NOW);
	geo = open_geo(country_path, NULL);
	geo_look(geo);
	assert_int_equal(truncate(country_path, 0), 0);
	boot_ms += 999;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	boot_ms += 1;
	assert_origin(geo, "203.0.113.7", "", 0, 0);
	assert_state(geo, GEO_COUNTRY, GEO_MISSING, "is damaged");
	assert_news(geo, "country missing");
	make_country(NOW);
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	geo_free(geo);
}

static void test_wrong_type(void **state)
{
	struct geo *geo;

	(void)state;
	make_asn(NOW);
	make_country(NOW);
	geo = open_geo(asn_path, country_path);
	assert_origin(geo, "203.0.113.7", "", 0, 0);
	assert_state(geo, GEO_COUNTRY, GEO_MISSING, "knows no country");
	assert_state(geo, GEO_COUNTRY, GEO_MISSING, "GeoLite2-ASN");
	assert_state(geo, GEO_ASN, GEO_MISSING, "knows no autonomous system");
	assert_news(geo, "country missing, asn missing");
	boot_ms += 1000;
	geo_look(geo);
	assert_news(geo, "");
	geo_free(geo);
}

static void test_no_files_for_us(void **state)
{
	struct geo *geo;

	(void)state;
	make_country(NOW);
	assert_int_equal(chmod(country_path, 0646), 0);
	assert_int_equal(mkfifo(asn_path, 0600), 0);
	geo = open_geo(country_path, asn_path);
	geo_look(geo);
	assert_state(geo, GEO_COUNTRY, GEO_MISSING, "may be written by everybody");
	assert_state(geo, GEO_ASN, GEO_MISSING, "is not a regular file");
	/* The times of a file whose mode is put right change, too. */
	assert_int_equal(chmod(country_path, 0644), 0);
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	geo_free(geo);
	geo = open_geo(folder, NULL);
	geo_look(geo);
	assert_state(geo, GEO_COUNTRY, GEO_MISSING, "is not a regular file");
	geo_free(geo);
}

static void test_ages(void **state)
{
	struct geo *geo;

	(void)state;
	make_country(NOW - 59 * DAY);
	geo = open_geo(country_path, NULL);
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	assert_news(geo, "");
	wall += 2 * DAY;
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	assert_news(geo, "country ageing");
	assert_state(geo, GEO_COUNTRY, GEO_AGEING, "was built 61 days ago; it counts for 29 more");
	wall += 29 * DAY;
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	assert_news(geo, "");
	wall += 1;
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "", 0, 0);
	assert_state(geo, GEO_COUNTRY, GEO_STALE, "was built 90 days ago, longer than");
	assert_news(geo, "country stale");
	/* A clock that was wrong is set right. */
	wall = NOW;
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	assert_news(geo, "country found");
	/* Before it was set: a database of the future is not stale. */
	wall = 0;
	boot_ms += 1000;
	assert_origin(geo, "203.0.113.7", "CA", 0, ORIGIN_COUNTRY);
	assert_news(geo, "");
	geo_free(geo);
}

/* Whatever stands in a file, nothing crashes, and what is said is a country or nothing. */
/* Of LeakSanitizer, where a build has it. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* MMDB_open() of libmaxminddb before 1.12 loses 4 KB where a file's description is damaged (its
 * pull request 356). What is lost otherwise the other tests see. */
static struct origin look_up_damaged(struct geo *geo, const char *address)
{
	struct origin origin;

	if (__lsan_disable)
		__lsan_disable();
	origin = look_up(geo, address);
	if (__lsan_enable)
		__lsan_enable();
	return origin;
}

static void test_damaged_anywhere(void **state)
{
	struct dice dice = dice_new("test_damaged_anywhere");
	struct geo *geo;
	struct stat status;
	char *bytes;
	int fd;

	(void)state;
	make_country(NOW);
	fd = open(country_path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &status) == 0);
	bytes = malloc((size_t)status.st_size);
	assert_int_equal(pread(fd, bytes, (size_t)status.st_size, 0), status.st_size);
	geo = open_geo(country_path, NULL);
	for (int i = 0; i < 2000; i++) {
		off_t length = dice_roll(&dice, 4) ? status.st_size
						   : dice_roll(&dice, (unsigned)status.st_size);
		struct origin origin;

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, bytes, (size_t)length, 0), length);
		for (int j = 0; length > 0 && j < 3; j++) {
			char byte = (char)dice_roll(&dice, 256);
			off_t at = dice_roll(&dice, (unsigned)length);

			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		}
		boot_ms += 1000;
		origin = look_up_damaged(geo, "203.0.113.7");
		assert_in_range(strlen(origin.country), 0, 2);
		look_up_damaged(geo, "2001:db8::1");
		if (!(origin.known & ORIGIN_COUNTRY))
			assert_string_equal(origin.country, "");
	}
	geo_free(geo);
	free(bytes);
	close(fd);
}

static size_t open_descriptors(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_nothing_stays_open(void **state)
{
	size_t before = open_descriptors();
	struct geo *geo;

	(void)state;
	make_country(NOW);
	geo = open_geo(country_path, NULL);
	geo_look(geo);
	assert_int_equal(open_descriptors(), before);
	geo_free(geo);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	static const char *const try[] = {MMDB_PL, NULL};
	const struct CMUnitTest tests[] = {
		TEST(test_origins),
		TEST(test_registered_elsewhere),
		TEST(test_ipv4_alone),
		TEST(test_only_what_is_needed),
		TEST(test_missing_then_found),
		TEST(test_replaced_by_a_rename),
		TEST(test_cut_in_place),
		TEST(test_wrong_type),
		TEST(test_no_files_for_us),
		TEST(test_ages),
		TEST(test_damaged_anywhere),
		TEST(test_nothing_stays_open),
	};

	if (run_writer(try) == 77) {
		fputs("skipped: libmaxmind-db-writer-perl is not installed\n", stderr);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
