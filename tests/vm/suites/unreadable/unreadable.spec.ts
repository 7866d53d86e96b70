import { test } from '@playwright/test';
import { nothing } from './no-such-module-here';

test('never loaded', () => {
  nothing();
});
