// No regular expression at all, and the end of another file's name.
import { test } from '@playwright/test';

test(`long ${'x'.repeat(40_000)}`, () => {});
