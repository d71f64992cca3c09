/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "news.h"
#include "json_put.h"

#include <stdbool.h>
#include <string.h>

struct news_mark news_listen(struct news *news)
{
	news->listeners++;
	return (struct news_mark){.offset = news->lines.length, .left_out = news->left_out};
}

void news_leave(struct news *news)
{
	if (--news->listeners == 0)
		news_clear(news);
}

void news_clear(struct news *news)
{
	text_free(&news->lines);
	news->count = news->left_out = 0;
}

static bool is_news(const char *line)
{
	static const char *const wanted[] = {"event=change ", "event=state ", "event=flapping ",
		"event=table ", "event=damage ", "event=shut-out "};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
			return true;
	}
	return false;
}

void news_note(struct news *news, const struct event *event)
{
	const char *line = text_string(&event->line);
	size_t before = news->lines.length;

	if (news->listeners == 0 || !is_news(line))
		return;
	if (news->count < NEWS_MAX && !news->lines.failed) {
		text_write(&news->lines, event->line.data, event->line.length);
		text_puts(&news->lines, "\n");
	}
	/* Out of memory: what is noted already stays whole. */
	if (news->lines.failed)
		news->lines.length = before;
	if (news->lines.length > before)
		news->count++;
	else
		news->left_out++;
}

/* "event=change extension=21 …" as an object; returns what is behind the line feed. */
static const char *put_line(const char *at, struct text *text)
{
	char key[EVENT_KEY_SIZE];
	struct text value = {0};

	json_put_open(text, "{");
	while (event_next(&at, key, &value)) {
		json_put_key(text, key);
		json_put_string(text, text_string(&value));
	}
	json_put_close(text, "}");
	text->failed |= value.failed;
	text_free(&value);
	return at + (*at == '\n');
}

void news_put(const struct news *news, const struct news_mark *mark, struct text *text)
{
	json_put_key(text, "changes");
	json_put_open(text, "[");
	for (const char *at = text_string(&news->lines) + mark->offset; *at;)
		at = put_line(at, text);
	json_put_close(text, "]");
	json_put_key(text, "changes_left_out");
	json_put_number(text, (int64_t)(news->left_out - mark->left_out));
}
