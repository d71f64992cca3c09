/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "watch.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
	NARROWEST = 20, /* narrower tables are not made: their lines are wrapped */
	INDENT = 4,	/* of what is left of a wrapped line */
	LEAST_TAIL = 4, /* lines */
};

/* The alternate screen, and no cursor. */
static const char enter[] = "\033[?1049h\033[?25l\033[H\033[2J";
static const char leave[] = "\033[0m\033[?25h\033[?1049l";

static void put(const char *data, size_t length)
{
	while (length > 0) {
		ssize_t size = write(STDOUT_FILENO, data, length);

		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return;
		data += size;
		length -= (size_t)size;
	}
}

/* --- Lines of a screen --- */

struct lines {
	struct text text; /* each with its NUL */
	size_t count;
};

/* Of a colour: "\033[31m"; 0: it is none. */
static size_t colour_length(const char *at)
{
	size_t length;

	if (at[0] != '\033' || at[1] != '[')
		return 0;
	length = 2 + strspn(at + 2, "0123456789;");
	return at[length] == 'm' ? length + 1 : 0;
}

static bool goes_on(const char *at)
{
	return ((unsigned char)*at & 0xc0) == 0x80;
}

/* How many bytes of the line fit: up to a blank, if there is one, or all. */
static size_t measure(const char *line, size_t width)
{
	size_t at = 0, blank = 0, columns = 0;

	while (line[at]) {
		size_t colour = colour_length(line + at);

		if (colour) {
			at += colour;
			continue;
		}
		if (columns == width)
			break;
		if (line[at] == ' ' && columns > INDENT)
			blank = at;
		columns++;
		for (at++; goes_on(line + at); at++)
			;
	}
	if (!line[at] || line[at] == ' ' || !blank)
		return at;
	return blank;
}

static void add_piece(struct lines *lines, const char *piece, size_t length, size_t indent)
{
	text_printf(&lines->text, "%*s", (int)indent, "");
	for (size_t i = 0; i < length;) {
		size_t colour = colour_length(piece + i);
		bool control = (unsigned char)piece[i] < ' ' || piece[i] == 0x7f;

		text_write(&lines->text, !colour && control ? "?" : piece + i, colour ? colour : 1);
		i += colour ? colour : 1;
	}
	text_write(&lines->text, "", 1);
	lines->count++;
}

static void add_line(struct lines *lines, const char *line, size_t width)
{
	size_t indent = 0;

	do {
		size_t length = measure(line, width - indent);

		add_piece(lines, line, length, indent);
		line += length;
		line += strspn(line, " ");
		indent = width > 3 * INDENT ? INDENT : 0;
	} while (*line && colour_length(line) != strlen(line));
}

/* `string` is changed. */
static void add_lines(struct lines *lines, char *string, size_t width)
{
	char *rest = string;

	while (rest && *rest) {
		char *line = strsep(&rest, "\n");

		add_line(lines, line, width);
	}
}

/* The first `count` of them, each to the end of its row. */
static void draw_lines(const struct lines *lines, size_t count, struct text *screen)
{
	const char *at = text_string(&lines->text);

	for (size_t i = 0; i < count && i < lines->count; i++) {
		text_puts(screen, at);
		text_puts(screen, "\033[0m\033[K\r\n");
		at += strlen(at) + 1;
	}
}

static void draw_cut(struct lines *lines, size_t rows, struct text *screen)
{
	size_t shown = lines->count > rows ? rows - 1 : lines->count;

	draw_lines(lines, shown, screen);
	if (shown < lines->count)
		text_printf(screen, "(%zu more lines)\033[K\r\n", lines->count - shown);
}

static void draw_footer(const struct invocation *invocation, size_t width, struct text *screen)
{
	time_t now = time(NULL);
	char clock[16] = "", footer[80];
	struct tm parts;

	if (localtime_r(&now, &parts))
		strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
	snprintf(footer, sizeof(footer), "%s  every %u s; q ends", clock, invocation->interval);
	text_printf(screen, "%.*s\033[K\033[J", (int)(width - 1), footer);
}

/* `output` is changed. */
static void compose(const struct invocation *invocation, char *output, size_t width, size_t height,
	struct text *screen)
{
	char *mark = strstr(output, WATCH_TAIL);
	struct lines body = {0}, tail = {0};
	size_t rows = height > 2 ? height - 1 : 1, room = rows / 3;

	if (mark)
		*mark = '\0';
	add_lines(&body, output, width);
	if (mark)
		add_lines(&tail, mark + strlen(WATCH_TAIL), width);
	if (body.count + tail.count <= rows)
		room = tail.count;
	else if (rows > body.count && rows - body.count > room)
		room = rows - body.count;
	if (room > tail.count)
		room = tail.count;
	if (room < LEAST_TAIL && room < tail.count)
		room = 0;
	text_puts(screen, "\033[H");
	if (height > 1)
		draw_cut(&body, rows - room, screen);
	else
		text_printf(screen, "%s\033[K", text_string(&body.text));
	if (room > 0)
		draw_cut(&tail, room, screen);
	if (height > 1)
		draw_footer(invocation, width, screen);
	else
		text_puts(screen, "\033[J");
	screen->failed |= body.text.failed || tail.text.failed;
	text_free(&body.text);
	text_free(&tail.text);
}

/* --- The child --- */

static void take_window_change(int signal)
{
	(void)signal; /* it has interrupted the pause: that is all */
}

/* What the command prints; no string: it could not be had. */
static void capture(const struct invocation *invocation, watch_draw_fn *draw, struct text *output)
{
	int screen = dup(STDOUT_FILENO), file = memfd_create("status", MFD_CLOEXEC);
	char buffer[4096];
	ssize_t size;

	if (screen < 0 || file < 0 || dup2(file, STDOUT_FILENO) < 0 ||
		dup2(file, STDERR_FILENO) < 0)
		output->failed = true;
	else
		draw(invocation);
	fflush(stdout);
	if (screen >= 0) {
		dup2(screen, STDOUT_FILENO);
		dup2(screen, STDERR_FILENO);
		close(screen);
	}
	if (file < 0)
		return;
	lseek(file, 0, SEEK_SET);
	while ((size = read(file, buffer, sizeof(buffer))) > 0)
		text_write(output, buffer, (size_t)size);
	close(file);
}

static bool draw_screen(const struct invocation *invocation, watch_draw_fn *draw)
{
	struct winsize size = {0};
	struct invocation sized = *invocation;
	struct text output = {0}, screen = {0};
	size_t width = 80, height = 24;
	bool done;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
		width = size.ws_col;
		height = size.ws_row;
	}
	sized.columns = width > NARROWEST ? width : NARROWEST;
	sized.rows = height;
	capture(&sized, draw, &output);
	text_puts(&output, "");
	if (!output.failed && output.data)
		compose(&sized, output.data, width, height, &screen);
	done = !output.failed && !screen.failed;
	if (done)
		put(text_string(&screen), screen.length);
	text_free(&output);
	text_free(&screen);
	return done;
}

/* Is there a q or Q? F2 sends one, too, behind an escape. */
static bool is_enough(const char *typed, size_t length)
{
	const char *escape = memchr(typed, '\033', length);
	size_t plain = escape ? (size_t)(escape - typed) : length;

	return memchr(typed, 'q', plain) || memchr(typed, 'Q', plain);
}

/* Until it is time, or the window has changed: other keys draw nothing. False: somebody has had
 * enough. */
static bool pause_until_next(const struct invocation *invocation, bool *keys)
{
	struct pollfd key = {.events = POLLIN};
	int64_t end = clock_boot_ms() + (int64_t)invocation->interval * 1000;
	sigset_t none;

	sigemptyset(&none);
	for (;;) {
		int64_t left = end - clock_boot_ms();
		struct timespec limit = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
		char typed[64];
		ssize_t length;

		key.fd = *keys ? STDIN_FILENO : -1;
		if (left <= 0 || ppoll(&key, 1, &limit, &none) <= 0)
			return true;
		length = read(STDIN_FILENO, typed, sizeof(typed));
		if (length <= 0)
			*keys = false;
		else if (is_enough(typed, (size_t)length))
			return false;
	}
}

static int child_run(const struct invocation *invocation, watch_draw_fn *draw, pid_t parent)
{
	struct sigaction action = {.sa_handler = take_window_change};
	bool keys = isatty(STDIN_FILENO);
	sigset_t resizing;

	/* Also when the parent is killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return EXIT_REFUSED;
	sigaction(SIGWINCH, &action, NULL);
	sigemptyset(&resizing);
	sigaddset(&resizing, SIGWINCH);
	sigprocmask(SIG_SETMASK, &resizing, NULL);
	do {
		if (!draw_screen(invocation, draw))
			return EXIT_REFUSED;
	} while (pause_until_next(invocation, &keys));
	return EXIT_DONE;
}

/* --- The parent --- */

struct screen {
	struct termios before;
	bool keys; /* stdin is a terminal */
	sigset_t mask;
};

static void screen_enter(struct screen *screen)
{
	struct termios quiet;

	screen->keys = tcgetattr(STDIN_FILENO, &screen->before) == 0;
	quiet = screen->before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
	quiet.c_cc[VMIN] = 1;
	quiet.c_cc[VTIME] = 0;
	if (screen->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet);
	put(enter, sizeof(enter) - 1);
}

static void screen_leave(const struct screen *screen)
{
	put(leave, sizeof(leave) - 1);
	if (screen->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->before);
}

/* ^Z: the shell gets its screen, and we ours when we go on. */
static void stop_for_a_while(struct screen *screen, pid_t child)
{
	kill(child, SIGSTOP);
	screen_leave(screen);
	raise(SIGSTOP);
	screen_enter(screen);
	kill(child, SIGCONT);
	kill(child, SIGWINCH);
}

/* 0: the child has ended by itself. */
static int wait_for_end(struct screen *screen, const sigset_t *signals, pid_t child, int *status)
{
	for (;;) {
		int signal = sigwaitinfo(signals, NULL);

		if (signal < 0)
			continue;
		if (signal == SIGTSTP) {
			stop_for_a_while(screen, child);
			continue;
		}
		if (signal == SIGCHLD) {
			if (waitpid(child, status, WNOHANG) == child)
				return 0;
			continue;
		}
		kill(child, SIGKILL);
		waitpid(child, status, 0);
		return signal;
	}
}

static int say_end(const struct invocation *invocation, const struct screen *screen,
	const sigset_t *signals, int signal, int status)
{
	if (signal == SIGINT)
		return EXIT_DONE;
	if (signal) {
		/* As if nothing had been in its way. */
		sigprocmask(SIG_SETMASK, &screen->mask, NULL);
		raise(signal);
		return EXIT_REFUSED;
	}
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE)
		return EXIT_DONE;
	/* ^C reaches both, and the child may be the first. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT)
		return EXIT_DONE;
	if (WIFSIGNALED(status))
		say_warning(invocation, "what draws the screen was ended by signal %d",
			WTERMSIG(status));
	else
		say_warning(invocation, "the screen could not be drawn: out of memory, or too many "
					"files are open");
	return EXIT_REFUSED;
}

int watch_run(const struct invocation *invocation, watch_draw_fn *draw)
{
	static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCHLD};
	const char *term = getenv("TERM");
	struct screen screen = {0};
	sigset_t signals;
	pid_t child, self = getpid();
	int status = 0, signal;

	if (!isatty(STDOUT_FILENO) || !term || strcmp(term, "dumb") == 0) {
		say_usage(invocation, "--watch needs a terminal that can be drawn on");
		return EXIT_USAGE;
	}
	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		sigaddset(&signals, watched[i]);
	sigprocmask(SIG_BLOCK, &signals, &screen.mask);
	fflush(stdout);
	screen_enter(&screen);
	child = fork();
	if (child == 0)
		_exit(child_run(invocation, draw, self));
	if (child < 0) {
		int number = errno;

		screen_leave(&screen);
		sigprocmask(SIG_SETMASK, &screen.mask, NULL);
		say_warning(invocation, "cannot start a process: %s", strerror(number));
		return EXIT_REFUSED;
	}
	signal = wait_for_end(&screen, &signals, child, &status);
	screen_leave(&screen);
	return say_end(invocation, &screen, &signals, signal, status);
}
