/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "error.h"

#include <errno.h>
#include <stdio.h>

int error_set(struct error *error, int code, const char *next, const char *format, ...)
{
	va_list arguments;

	if (!error || error->code)
		return code;
	error->code = code;
	va_start(arguments, format);
	vsnprintf(error->what, sizeof(error->what), format, arguments);
	va_end(arguments);
	snprintf(error->next, sizeof(error->next), "%s", next ? next : "");
	return code;
}

int error_no_memory(struct error *error)
{
	return error_set(error, -ENOMEM, "free some memory, or raise the limit of this process",
		"out of memory");
}
