#include "console.h"

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

/* 16550A, PC16550D data sheet section 8. */
#define COM1 0x3f8
#define UART_DATA (COM1 + 0)
#define UART_DLL (COM1 + 0)
#define UART_DLM (COM1 + 1)
#define UART_IER (COM1 + 1)
#define UART_FCR (COM1 + 2)
#define UART_LCR (COM1 + 3)
#define UART_MCR (COM1 + 4)
#define UART_LSR (COM1 + 5)
#define FCR_ENABLE_AND_CLEAR 0x07
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define LSR_THRE 0x20
#define MCR_DTR_RTS 0x03

enum { DIGITS_MAX = 20 };

struct conversion {
	bool left;
	char fill;
	int width;
};

static void put(char c)
{
	while (!(inb(UART_LSR) & LSR_THRE))
		pause();
	outb(UART_DATA, (uint8_t)c);
}

static void put_character(char c)
{
	if (c == '\n')
		put('\r');
	put(c);
}

static void put_field(const char *text, int length, const struct conversion *field)
{
	int padding = field->width - length;

	if (!field->left) {
		for (; padding > 0; padding--)
			put_character(field->fill);
	}
	for (int i = 0; i < length; i++)
		put_character(text[i]);
	for (; padding > 0; padding--)
		put_character(' ');
}

static void put_number(uint64_t value, bool negative, unsigned int base, const struct conversion *field)
{
	char digits[DIGITS_MAX + 1];
	int at = DIGITS_MAX + 1;

	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	if (negative)
		digits[--at] = '-';
	put_field(digits + at, DIGITS_MAX + 1 - at, field);
}

static void put_string(const char *text, const struct conversion *field)
{
	int length = 0;

	while (text[length])
		length++;
	put_field(text, length, field);
}

void console_init(void)
{
	outb(UART_IER, 0);
	outb(UART_LCR, LCR_DLAB);
	outb(UART_DLL, 1); /* 115200 baud */
	outb(UART_DLM, 0);
	outb(UART_LCR, LCR_8N1);
	outb(UART_FCR, FCR_ENABLE_AND_CLEAR);
	outb(UART_MCR, MCR_DTR_RTS);
}

void print_va(const char *format, va_list arguments)
{
	for (; *format; format++) {
		struct conversion field = { .left = false, .fill = ' ', .width = 0 };
		bool is_long = false;

		if (*format != '%') {
			put_character(*format);
			continue;
		}
		format++;
		if (*format == '-') {
			field.left = true;
			format++;
		}
		if (*format == '0') {
			field.fill = '0';
			format++;
		}
		for (; *format >= '0' && *format <= '9'; format++)
			field.width = field.width * 10 + (*format - '0');
		if (*format == 'l') {
			is_long = true;
			format++;
		}
		switch (*format) {
		case 'c': {
			char c = (char)va_arg(arguments, int);

			put_field(&c, 1, &field);
			break;
		}
		case 's':
			put_string(va_arg(arguments, const char *), &field);
			break;
		case 'd': {
			int64_t value = is_long ? va_arg(arguments, int64_t) : va_arg(arguments, int);

			put_number(value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0, 10, &field);
			break;
		}
		case 'u':
		case 'x':
			put_number(is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned int), false,
				   *format == 'x' ? 16 : 10, &field);
			break;
		case '\0':
			return;
		default:
			put_character(*format);
		}
	}
}

void print(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_va(format, arguments);
	va_end(arguments);
}
